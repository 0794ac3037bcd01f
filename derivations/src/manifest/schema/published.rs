//! The JSON Schema of manifests, for editors and for `docs/manifest.md`.

use serde_json::{Map, Value};

use super::Document;

/// The JSON Schema of a manifest.
pub fn manifest_schema() -> Value {
    let mut schema: Value = schemars::schema_for!(Document).into();
    without_null(&mut schema);
    schema
}

/// Takes out `null`, which an optional key has in JSON and no key in TOML.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Array(values) => values.iter_mut().for_each(without_null),
        Value::Object(object) => {
            object.values_mut().for_each(without_null);
            one_type(object);
            one_alternative(object);
            if object.get("default").is_some_and(Value::is_null) {
                object.remove("default");
            }
        }
        _ => {}
    }
}

/// `"type": ["string", "null"]` becomes `"type": "string"`.
fn one_type(object: &mut Map<String, Value>) {
    let Some(Value::Array(types)) = object.get_mut("type") else {
        return;
    };
    types.retain(|name| name != "null");
    if let [only] = &types[..] {
        let only = only.clone();
        object.insert("type".to_owned(), only);
    }
}

/// `"anyOf": [{…}, {"type": "null"}]` becomes what the first says.
fn one_alternative(object: &mut Map<String, Value>) {
    let Some(Value::Array(alternatives)) = object.get_mut("anyOf") else {
        return;
    };
    alternatives.retain(|one| one.get("type").is_none_or(|name| name != "null"));
    if let [Value::Object(only)] = &alternatives[..] {
        let only = only.clone();
        object.remove("anyOf");
        for (key, value) in only {
            object.entry(key).or_insert(value);
        }
    }
}
