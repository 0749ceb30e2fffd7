# Sourced by make.sh: keystores by the JDK's keytool.
cd keytool
pw=test-password
pair() {
    keytool -genkeypair -keyalg RSA -keysize 2048 -validity 36500 -storepass $pw "$@" >/dev/null 2>&1
}
pair -alias client-key -dname 'CN=TEST KEY of keytool' -storetype PKCS12 -keystore one.p12
cp one.p12 two.p12
pair -alias auth-key -dname 'CN=TEST KEY of keytool (second)' -storetype PKCS12 -keystore two.p12
for type in JKS JCEKS; do
    file=$(echo $type | tr JCEKS jceks)
    keytool -importkeystore -noprompt -srckeystore one.p12 -srcstorepass $pw -srcalias client-key \
        -destkeystore keystore.$file -deststoretype $type -deststorepass $pw -destkeypass $pw >/dev/null 2>&1
done
keytool -exportcert -rfc -alias client-key -storepass $pw -keystore one.p12 >../keytool.tmp 2>/dev/null
cd ..
public keytool keytool.tmp
rm keytool.tmp
