//! The keyring against the reference's rules: who may be primary, what may be removed, what its file says.

use super::*;

fn key(byte: u8) -> Key {
    Key::new(&[byte; 16]).unwrap()
}

#[test]
fn a_ring_is_rotated_as_operators_do_it() {
    let mut ring = Keyring::new(key(1));
    ring.install(key(2)).unwrap();
    ring.install(key(3)).unwrap();
    ring.install(key(2)).unwrap();
    assert_eq!(ring.keys(), [key(1), key(2), key(3)]);
    ring.use_key(&key(3)).unwrap();
    assert_eq!(ring.keys(), [key(3), key(1), key(2)]);
    ring.use_key(&key(3)).unwrap();
    ring.remove(&key(1)).unwrap();
    ring.remove(&key(9)).unwrap();
    assert_eq!(ring.keys(), [key(3), key(2)]);
}

#[test]
fn refusals_read_as_the_reference_words_them() {
    let mut ring = Keyring::new(key(1));
    assert_eq!(ring.remove(&key(1)).unwrap_err().to_string(), "Removing the primary key is not allowed");
    assert_eq!(ring.use_key(&key(2)).unwrap_err().to_string(), "Requested key is not in the keyring");
    assert_eq!(Key::new(&[1; 15]).unwrap_err().to_string(), "key size must be 16, 24 or 32 bytes");
    assert_eq!(Key::from_base64("a!").unwrap_err().to_string(), "illegal base64 data at input byte 1");
    for other in 2..=KEYS_MAX as u8 {
        ring.install(key(other)).unwrap();
    }
    assert_eq!(ring.install(key(0)), Err(KeyringError::Full));
}

#[test]
fn files_are_those_of_serf() {
    let mut ring = Keyring::new(key(1));
    assert_eq!(ring.to_first_file(), "[\"AQEBAQEBAQEBAQEBAQEBAQ==\"]");
    ring.install(Key::new(&[2; 32]).unwrap()).unwrap();
    let file = "[\n  \"AQEBAQEBAQEBAQEBAQEBAQ==\",\n  \"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\"\n]";
    assert_eq!(ring.to_file(), file);
    assert_eq!(Keyring::from_file(file.as_bytes()), Ok(ring.clone()));
    assert_eq!(Keyring::from_file(ring.to_first_file().as_bytes()), Ok(ring));
    assert_eq!(Keyring::from_file(b"[]"), Err(KeyringError::Empty));
    assert_eq!(Keyring::from_file(b"null"), Err(KeyringError::Empty));
    assert!(matches!(Keyring::from_file(b"{}"), Err(KeyringError::File(_))));
    assert_eq!(Keyring::from_file(b"[\"AQ==\"]"), Err(KeyringError::Size));
}

#[test]
fn keys_are_not_printed() {
    let ring = Keyring::new(Key::new(b"not to be seen!!").unwrap());
    assert_eq!(format!("{ring:?}"), "Keyring { keys: [Key(<16 bytes hidden>)] }");
}
