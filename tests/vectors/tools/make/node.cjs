// Keys by Node's own crypto, and by the npm packages jose, node-jose and pem-jwk.
const crypto = require('node:crypto');
const fs = require('node:fs');

const write = (name, text) => fs.writeFileSync(`node/${name}`, text);
const known = (name, jwk) => fs.appendFileSync('public.txt', `${name} ${jwk.n}\n`);
const pair = () => crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
const encrypted = { cipher: 'aes-256-cbc', passphrase: 'test-password' };

async function make() {
  const { privateKey: key } = pair();
  const jwk = key.export({ format: 'jwk' });
  known('node', jwk);
  write('crypto.json', JSON.stringify(jwk));
  write('crypto-pkcs1.pem', key.export({ format: 'pem', type: 'pkcs1' }));
  write('crypto-pkcs8.pem', key.export({ format: 'pem', type: 'pkcs8' }));
  write('crypto-pkcs8-encrypted.pem', key.export({ format: 'pem', type: 'pkcs8', ...encrypted }));

  const jose = await import(require.resolve('jose'));
  const made = await jose.generateKeyPair('RS256', { modulusLength: 2048, extractable: true });
  const exported = await jose.exportJWK(made.privateKey);
  known('node-of-jose', exported);
  const kid = 'test-key-of-jose';
  write('jose.json', JSON.stringify({ ...exported, kid, alg: 'RS256', use: 'sig' }, null, 2));

  const store = require('node-jose').JWK.createKeyStore();
  await store.generate('RSA', 2048, { kid: 'test-key-of-node-jose-1', alg: 'RS256', use: 'sig' });
  const last = await store.generate('RSA', 2048, { kid: 'test-key-of-node-jose-2', alg: 'RS256', use: 'sig' });
  known('node-of-node-jose', last.toJSON());
  write('node-jose.json', JSON.stringify(last.toJSON(true)));
  write('node-jose-set.json', JSON.stringify(store.toJSON(true)));

  const pem = key.export({ format: 'pem', type: 'pkcs1' });
  write('pem-jwk.json', JSON.stringify(require('pem-jwk').pem2jwk(pem)));
}

make().catch((error) => {
  console.error(error);
  process.exit(1);
});
