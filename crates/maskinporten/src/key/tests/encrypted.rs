//! Encrypted keys: what opens, what does not, and what is not even tried.

use pkcs8::EncryptedPrivateKeyInfoOwned;
use pkcs8::der::{Decode, Encode};
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::{Kdf, Parameters};

use super::*;

const PBKDF2: &str = vector!("rsa-2048-encrypted-pkcs8.pem");
const SCRYPT: &str = vector!("rsa-2048-encrypted-scrypt.pem");

fn options(password: &str) -> KeyOptions {
    KeyOptions::new().with_kid(KID).with_password(password)
}

#[test]
fn an_encrypted_key_is_opened_by_its_password() {
    let read = |bytes: &[u8]| accepted(SigningKey::read(bytes, &options("password")));
    read(PBKDF2.as_bytes());
    read(PBKDF2.replace('\n', "\\n").as_bytes());
    read(base64(PBKDF2).as_bytes());
    read(&der(PBKDF2));
    read(base64(der(PBKDF2)).as_bytes());
    read(SCRYPT.as_bytes());
    read(vector!("rsa-2048-encrypted-sha1.pem").as_bytes());
    read(vector!("rsa-2048-encrypted-sha512.pem").as_bytes());
    read(vector!("rsa-2048-encrypted-3des.pem").as_bytes());
    read(&der(vector!("rsa-2048-encrypted-3des.pem")));
    let line = SigningKey::read(PBKDF2.as_bytes(), &options("password\r\n"));
    accepted(line);
    accepted(SigningKey::read(PKCS8.as_bytes(), &options("for nothing")));
}

#[test]
fn without_its_password_an_encrypted_key_says_where_to_give_it() {
    for options in [KeyOptions::new().with_kid(KID), options(" ")] {
        let key = SigningKey::read(PBKDF2.as_bytes(), &options);
        let error = refused(
            key,
            &advice::KEY_PASSWORD_MISSING,
            &["no password is given"],
        );
        assert!(error.hint().unwrap().contains("MASKINPORTEN_KEY_PASSWORD"));
    }
}

#[test]
fn a_wrong_password_is_told_as_one() {
    for (pem, passwords) in [
        (PBKDF2, &["Password", " password", "password ", "hush"][..]),
        (SCRYPT, &["hush"]),
        (vector!("rsa-2048-encrypted-3des.pem"), &["hush"]),
    ] {
        for password in passwords {
            let key = SigningKey::read(pem.as_bytes(), &options(password));
            let error = refused(
                key,
                &advice::KEY_PASSWORD_WRONG,
                &["the password does not open the key"],
            );
            assert!(!format!("{error:?} {error}").contains("hush"));
        }
    }
    // The first number whose padding is right by chance: what it opens is no key.
    let key = SigningKey::read(PBKDF2.as_bytes(), &options("635"));
    drop(refused(
        key,
        &advice::KEY_PASSWORD_WRONG,
        &["the password does not open the key"],
    ));
    // A file that is damaged in its last block, whose padding is then another.
    let mut damaged = der(PBKDF2);
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let key = SigningKey::read(&damaged, &options("password"));
    drop(refused(
        key,
        &advice::KEY_PASSWORD_WRONG,
        &["or the file is damaged"],
    ));
}

#[test]
fn an_old_encryption_is_refused_with_the_command_that_renews_it() {
    let check = |bytes: &[u8], text| {
        // Before a password is asked for: it would be of no use.
        for options in [options("password"), KeyOptions::new().with_kid(KID)] {
            let error = refused(
                SigningKey::read(bytes, &options),
                &advice::OLD_ENCRYPTION,
                &[text],
            );
            let command = "`openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD.pem -out key.pem`";
            assert!(error.hint().unwrap().contains(command));
        }
    };
    let pbes1 = vector!("rsa-2048-encrypted-pbes1.pem");
    check(pbes1.as_bytes(), "by PBES1");
    check(&der(pbes1), "by PBES1");
    check(
        vector!("rsa-2048-encrypted-pkcs1.pem").as_bytes(),
        "Proc-Type ENCRYPTED",
    );
}

/// The same file, asking for other work.
fn asking(pem: &str, change: impl FnOnce(&mut Parameters)) -> Vec<u8> {
    let mut key = EncryptedPrivateKeyInfoOwned::from_der(&der(pem)).unwrap();
    let EncryptionScheme::Pbes2(parameters) = &mut key.encryption_algorithm else {
        panic!("the vectors are PBES2");
    };
    change(parameters);
    key.to_der().unwrap()
}

#[test]
fn a_file_that_asks_for_absurd_work_is_refused_before_any() {
    // Without a password nothing can be computed: the refusal comes before.
    let options = KeyOptions::new().with_kid(KID);
    let check = |bytes: &[u8], text: &str| {
        let key = SigningKey::read(bytes, &options);
        let error = refused(key, &advice::KEY_WORK, &[text]);
        assert!(error.hint().unwrap().contains("-iter 600000"));
    };
    let slow = vector!("rsa-2048-encrypted-slow.pem");
    check(slow.as_bytes(), "20000000 rounds of PBKDF2");
    let rounds = |count| {
        asking(PBKDF2, |parameters| match &mut parameters.kdf {
            Kdf::Pbkdf2(pbkdf2) => pbkdf2.iteration_count = count,
            _ => panic!("the vector is PBKDF2"),
        })
    };
    // Ten million were computed once: a quarter of a minute with SHA-512.
    check(&rounds(2_000_001), "2000001 rounds");
    let affordable = SigningKey::read(&rounds(2_000_000), &options);
    drop(refused(
        affordable,
        &advice::KEY_PASSWORD_MISSING,
        &["no password"],
    ));
    check(&rounds(0), "0 rounds");
    check(&rounds(u32::MAX), "4294967295 rounds");
    let scrypt = |cost, block, lanes| {
        asking(SCRYPT, |parameters| match &mut parameters.kdf {
            Kdf::Scrypt(scrypt) => {
                scrypt.cost_parameter = cost;
                scrypt.block_size = block;
                scrypt.parallelization = lanes;
            }
            _ => panic!("the vector is scrypt"),
        })
    };
    for (cost, block, lanes) in [
        (1 << 18, 8, 1),
        (1 << 14, 8, 9),
        (u64::MAX, u16::MAX, u16::MAX),
        (1 << 63, 1, 1),
        (16_383, 8, 1),
        (0, 8, 1),
        (1 << 14, 0, 1),
        (1 << 14, 8, 0),
    ] {
        let text = format!("scrypt with N = {cost}, r = {block}, p = {lanes}");
        check(&scrypt(cost, block, lanes), &text);
    }
}
