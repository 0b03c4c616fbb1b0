//! Workers KV.

use crate::runtime::ports::KvFailure;

/// The least that KV takes; a flip is seen everywhere within about a minute.
const CACHE_TTL_S: u64 = 30;

pub(super) async fn read_all(
    env: &worker::Env,
    binding: &str,
    keys: &[String],
) -> Result<Vec<(String, Option<String>)>, KvFailure> {
    let store = env.kv(binding).map_err(|_| KvFailure)?;
    let mut values = store
        .get_bulk(keys)
        .cache_ttl(CACHE_TTL_S)
        .text()
        .await
        .map_err(|_| KvFailure)?;
    Ok(keys
        .iter()
        .map(|key| (key.clone(), values.remove(key).flatten()))
        .collect())
}

pub(super) async fn names(env: &worker::Env, binding: &str) -> Result<Vec<String>, KvFailure> {
    let store = env.kv(binding).map_err(|_| KvFailure)?;
    let list = store.list().execute().await.map_err(|_| KvFailure)?;
    Ok(list.keys.into_iter().map(|key| key.name).collect())
}

pub(super) async fn write(
    env: &worker::Env,
    binding: &str,
    key: &str,
    value: &str,
) -> Result<(), KvFailure> {
    let store = env.kv(binding).map_err(|_| KvFailure)?;
    let put = store.put(key, value).map_err(|_| KvFailure)?;
    put.execute().await.map_err(|_| KvFailure)
}

pub(super) async fn read(
    env: &worker::Env,
    binding: &str,
    key: &str,
) -> Result<Option<String>, KvFailure> {
    let store = env.kv(binding).map_err(|_| KvFailure)?;
    store
        .get(key)
        .cache_ttl(CACHE_TTL_S)
        .text()
        .await
        .map_err(|_| KvFailure)
}
