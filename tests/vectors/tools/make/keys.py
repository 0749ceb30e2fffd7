"""Keys by cryptography, jwcrypto, PyJWT and Authlib, and texts that are left of a key by a slip."""

import base64
import datetime
import html
import json
import urllib.parse

from authlib.jose import JsonWebKey
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import PrivateFormat, pkcs12
from cryptography.x509.oid import NameOID
from jwcrypto import jwk
from jwt.algorithms import RSAAlgorithm

PASSWORD = b"test-password"


def write(name, text):
    with open(f"python/{name}", "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())


def known(name, n):
    with open("public.txt", "a") as file:
        file.write(f"{name} {n}\n")


# cryptography
key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = serialization.Encoding.PEM
PLAIN = serialization.NoEncryption()
write("cryptography-pkcs8.pem", key.private_bytes(PEM, PrivateFormat.PKCS8, PLAIN))
best = serialization.BestAvailableEncryption(PASSWORD)
write("cryptography-best.pem", key.private_bytes(PEM, PrivateFormat.PKCS8, best))
name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "TEST KEY of cryptography")])
now = datetime.datetime.now(datetime.timezone.utc)
certificate = x509.CertificateBuilder(
    issuer_name=name,
    subject_name=name,
    public_key=key.public_key(),
    serial_number=x509.random_serial_number(),
    not_valid_before=now - datetime.timedelta(days=1),
    not_valid_after=now + datetime.timedelta(days=36500),
).sign(key, hashes.SHA256())
older = (
    PrivateFormat.PKCS12.encryption_builder()
    .kdf_rounds(2000)
    .key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)
    .hmac_hash(hashes.SHA1())
    .build(PASSWORD)
)
for file, encryption in [("cryptography-best.p12", best), ("cryptography-3des.p12", older)]:
    write(file, pkcs12.serialize_key_and_certificates(b"TEST KEY", key, certificate, None, encryption))

# PyJWT: no kid, and "key_ops": ["sign"]
pyjwt = RSAAlgorithm.to_jwk(key)
known("python", json.loads(pyjwt)["n"])
write("pyjwt.json", pyjwt)

# jwcrypto
made = jwk.JWK.generate(kty="RSA", size=2048, kid="test-key-of-jwcrypto", use="sig", alg="RS256")
known("python-of-jwcrypto", json.loads(made.export_public())["n"])
write("jwcrypto.json", made.export_private())
keys = jwk.JWKSet()
keys.add(made)
write("jwcrypto-set.json", keys.export(private_keys=True))

# Authlib
authlib = JsonWebKey.generate_key("RSA", 2048, {"kid": "test-key-of-authlib"}, is_private=True)
known("python-of-authlib", authlib.as_dict(is_private=False)["n"])
write("authlib.json", authlib.as_json(is_private=True))

# Slips
private = json.loads(pyjwt) | {"kid": "test-key-of-python"}
text = json.dumps(private)
write("repr-of-dict.txt", repr(private))
write("str-of-bytes.txt", str(text.encode()))
write("base64-of-base64.txt", base64.b64encode(base64.b64encode(text.encode())))
write("html-escaped.txt", html.escape(text))
write("url-escaped.txt", urllib.parse.quote(text, safe=""))
write("json-of-json.txt", json.dumps(text))


# As .NET's `RSA.ToXmlString(true)` writes it.
def element(tag, number):
    octets = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return f"<{tag}>{base64.b64encode(octets).decode()}</{tag}>"


numbers = key.private_numbers()
parts = [
    ("Modulus", numbers.public_numbers.n),
    ("Exponent", numbers.public_numbers.e),
    ("P", numbers.p),
    ("Q", numbers.q),
    ("DP", numbers.dmp1),
    ("DQ", numbers.dmq1),
    ("InverseQ", numbers.iqmp),
    ("D", numbers.d),
]
body = "".join(element(tag, number) for tag, number in parts)
write("rsa-key-value.xml", f"<RSAKeyValue>{body}</RSAKeyValue>")
