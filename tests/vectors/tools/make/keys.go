// Keys by Go's standard library and by go-jose.
package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"

	"gopkg.in/square/go-jose.v2"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func write(name string, data []byte) {
	must(os.WriteFile("go/"+name, data, 0o600))
}

func block(label string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})
}

func main() {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	public, err := os.OpenFile("public.txt", os.O_APPEND|os.O_WRONLY, 0o644)
	must(err)
	defer public.Close()
	fmt.Fprintf(public, "go %s\n", base64.RawURLEncoding.EncodeToString(key.N.Bytes()))

	write("pkcs1.pem", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)))
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	write("pkcs8.pem", block("PRIVATE KEY", pkcs8))

	jwk := jose.JSONWebKey{Key: key, KeyID: "test-key-of-go-jose", Algorithm: "RS256", Use: "sig"}
	text, err := json.Marshal(jwk)
	must(err)
	write("go-jose.json", text)
}
