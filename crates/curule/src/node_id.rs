//! Which node this is: the `node-id` file of the data directory, as the reference keeps it.

use std::fs;
use std::io;
use std::path::Path;

/// Length of a UUID in its usual form, the only one that is taken.
const UUID_CHARS: usize = 36;

/// The configured id, else the kept one, else a new one that is kept.
pub fn determine(configured: &str, data_dir: Option<&Path>) -> io::Result<String> {
    if !configured.is_empty()
        && let Err(error) = uuid::Uuid::parse_str(configured)
    {
        let reason =
            if configured.len() == UUID_CHARS { error.to_string() } else { "uuid string is wrong length".to_owned() };
        return Err(io::Error::other(format!("specified NodeID is invalid: {reason}")));
    }
    let Some(dir) = data_dir else {
        return Ok(if configured.is_empty() { fresh() } else { configured.to_lowercase() });
    };
    fs::create_dir_all(dir)
        .map_err(|error| io::Error::other(format!("mkdir {}: {}", dir.display(), net::go_text::reason(&error))))?;
    let path = dir.join("node-id");
    if !configured.is_empty() {
        let id = configured.to_lowercase();
        agent::persist::write_private(&path, id.as_bytes())?;
        return Ok(id);
    }
    match fs::read_to_string(&path) {
        Ok(kept) if uuid::Uuid::parse_str(kept.trim()).is_ok() => Ok(kept.trim().to_lowercase()),
        Ok(_) => Err(io::Error::other(format!("{} holds no node id; remove it to get a new one", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = fresh();
            agent::persist::write_private(&path, id.as_bytes())?;
            Ok(id)
        }
        Err(error) => Err(error),
    }
}

fn fresh() -> String {
    uuid::Uuid::new_v4().to_string()
}

#[cfg(test)]
mod tests {
    use super::determine;

    #[test]
    fn an_id_is_kept() {
        let dir = std::env::temp_dir().join(format!("curule-node-id-{}", uuid::Uuid::new_v4()));
        let first = determine("", Some(&dir)).unwrap();
        assert_eq!(determine("", Some(&dir)).unwrap(), first);
        let chosen = "11111111-2222-3333-4444-55555555555A";
        assert_eq!(determine(chosen, Some(&dir)).unwrap(), chosen.to_lowercase());
        assert_eq!(determine("", Some(&dir)).unwrap(), chosen.to_lowercase());
        std::fs::write(dir.join("node-id"), "zork").unwrap();
        assert!(determine("", Some(&dir)).is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
