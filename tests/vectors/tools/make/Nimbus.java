// Keys by Nimbus JOSE+JWT.

import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.JWKSet;
import com.nimbusds.jose.jwk.KeyUse;
import com.nimbusds.jose.jwk.RSAKey;
import com.nimbusds.jose.jwk.gen.RSAKeyGenerator;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Date;

public class Nimbus {
    public static void main(String[] arguments) throws Exception {
        // In whole seconds, as `exp` is.
        Date end = new Date(4_102_444_800_000L);
        RSAKey key = new RSAKeyGenerator(2048)
            .keyID("test-key-of-nimbus")
            .keyUse(KeyUse.SIGNATURE)
            .algorithm(JWSAlgorithm.RS256)
            .expirationTime(end)
            .generate();
        RSAKey bare = new RSAKeyGenerator(2048).keyIDFromThumbprint(true).generate();
        Files.writeString(Path.of("nimbus/rsa-key.json"), key.toJSONString());
        Files.writeString(Path.of("nimbus/set.json"), new JWKSet(key).toString(false));
        Files.writeString(Path.of("nimbus/thumbprint.json"), bare.toJSONString());
        String known = "nimbus " + key.getModulus() + "\nnimbus-bare " + bare.getModulus() + "\n";
        Files.writeString(Path.of("public.txt"), known, StandardOpenOption.APPEND);
    }
}
