# Sourced by make.sh: keys by openssl and ssh-keygen.
cd openssl
pw=test-password
key=genpkey.pem
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out $key 2>/dev/null
openssl genrsa -traditional -out genrsa-traditional.pem 2048 2>/dev/null
openssl genrsa -des3 -passout pass:$pw -out genrsa-des3.pem 2048 2>/dev/null
openssl rsa -passin pass:$pw -in genrsa-des3.pem -out des3.tmp 2>/dev/null
openssl rsa -in $key -traditional -aes256 -passout pass:$pw -out traditional-aes256.pem 2>/dev/null
openssl pkcs8 -topk8 -scrypt -in $key -passout pass:$pw -out pkcs8-scrypt.pem
openssl pkcs8 -topk8 -v2 aes-256-cbc -in $key -passout pass:$pw -out pkcs8-aes256.pem
openssl pkcs8 -topk8 -nocrypt -outform DER -in $key -out pkcs8.der
# Some programs keep the label of the file that they have read.
sed 's/PRIVATE KEY/RSA PRIVATE KEY/' $key >pkcs8-under-rsa-label.pem
ssh-keygen -q -t rsa -b 2048 -N '' -C 'TEST KEY' -f id_rsa
rm id_rsa.pub

# The key's own certificate, and a chain of three whose other keys are thrown away.
openssl req -x509 -new -key $key -days 36500 -subj '/C=NO/O=TEST KEY/serialNumber=991825827/CN=TEST KEY of openssl' \
    -out certificate.pem
for authority in root issuing; do
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out $authority.key 2>/dev/null
done
ca='basicConstraints=critical,CA:TRUE'
openssl req -x509 -new -key root.key -days 36500 -subj '/CN=TEST KEY root' -addext $ca -out root.pem
echo $ca >ca.ext
openssl req -new -key issuing.key -subj '/CN=TEST KEY issuing' |
    openssl x509 -req -CA root.pem -CAkey root.key -days 36500 -extfile ca.ext -out issuing.pem 2>/dev/null
openssl req -new -key $key -subj '/C=NO/O=TEST KEY/serialNumber=991825827/CN=TEST KEY of a chain' |
    openssl x509 -req -CA issuing.pem -CAkey issuing.key -days 36500 -out leaf.pem 2>/dev/null
cat root.pem issuing.pem >above.pem

p12() { openssl pkcs12 -export -inkey $key "$@"; }
p12 -in certificate.pem -passout pass:$pw -out modern.p12
p12 -in certificate.pem -passout pass:$pw -legacy -keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -out 3des.p12
p12 -in certificate.pem -passout pass:$pw -legacy -out rc2.p12
p12 -in certificate.pem -passout pass:$pw -name 'BLÅBÆR OG ØL' -out name-latin1.p12
p12 -in leaf.pem -certfile above.pem -passout pass:$pw -out chain.p12
p12 -in certificate.pem -passout pass:$pw -macalg sha512 -out mac-sha512.p12
p12 -in certificate.pem -passout pass:$pw -nomac -out no-mac.p12
p12 -in certificate.pem -passout pass: -out empty-password.p12
openssl pkcs12 -in name-latin1.p12 -passin pass:$pw -nodes -out nodes-name-latin1.pem
rm ca.ext root.* issuing.* above.pem leaf.pem
cd ..
public openssl openssl/genpkey.pem
public openssl-traditional openssl/genrsa-traditional.pem
public openssl-des3 openssl/des3.tmp
rm openssl/des3.tmp
