//! For `#[serde(with = "wire::nil_when_empty")]` on a list or map: nothing in it is written as null.
//!
//! Go distinguishes a slice or map that was never set (null) from an empty one (`[]`, `{}`); a field that the reference
//! leaves unset takes this module, one that it makes empty goes without. Both are read as empty.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub fn serialize<T, S>(value: &T, serializer: S) -> Result<S::Ok, S::Error>
where
    T: Serialize,
    for<'a> &'a T: IntoIterator,
    S: Serializer,
{
    if value.into_iter().next().is_none() { serializer.serialize_unit() } else { value.serialize(serializer) }
}

pub fn deserialize<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize};

    use crate::{json, msgpack};

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default)]
    struct Holder {
        #[serde(with = "crate::nil_when_empty")]
        list: Vec<String>,
        #[serde(with = "crate::nil_when_empty")]
        map: BTreeMap<String, u8>,
    }

    #[test]
    fn empty_is_null_in_both_formats() {
        let empty = Holder::default();
        assert_eq!(json::to_string(&empty).unwrap(), r#"{"list":null,"map":null}"#);
        assert_eq!(msgpack::to_vec(&empty).unwrap(), b"\x82\xa4list\xc0\xa3map\xc0");
        let full = Holder { list: vec!["a".to_owned()], map: BTreeMap::from([("k".to_owned(), 1)]) };
        let text = json::to_vec(&full).unwrap();
        assert_eq!(json::from_slice::<Holder>(&text, json::Options::STRICT), Ok(full));
        assert_eq!(msgpack::from_slice::<Holder>(b"\x82\xa4list\x90\xa3map\xc0"), Ok(empty));
        assert_eq!(
            json::from_slice::<Holder>(br#"{"list":5}"#, json::Options::STRICT).unwrap_err().to_string(),
            "json: cannot unmarshal number into Go struct field Holder.list of type []string"
        );
    }
}
