//! S3: buckets, each in one Region, and small objects in them; and the addresses under which Route 53's health checkers
//! read them.
//!
//! Invariant: what was put is seen by the next look, from everywhere (strong read-after-write [S3 UG]); whether anybody
//! sees anything is the plane's. It does nothing by itself, so no history changes by its being there.
//!
//! Deliberately not modelled: who may read what (a simulated object is public, and the caller may do everything),
//! versions, parts, and replication itself: how far that of an object is stands in it from the beginning, and stays so.

use std::{collections::BTreeMap, ops::Bound};

use super::{ApiFault, Context, Plane, Planes, Reach, SimTime, World, WorldEvent};
use crate::domain::id::Region;

/// The largest object that is kept, in bytes: it is a signal, and no data.
pub const OBJECT_BYTES_MAX: usize = 64 * 1_024;
/// Objects of a bucket.
const OBJECTS_MAX: usize = 1_000;
/// Changes kept for the oracle; a run makes a handful.
const EFFECTS_MAX: usize = 100_000;

/// An object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub body: Vec<u8>,
    pub put_at: SimTime,
    /// What HEAD says of its replication: `PENDING`, `FAILED`, `COMPLETED`, `REPLICA`; nothing where no rule is for it.
    pub replication: Option<&'static str>,
}

#[derive(Debug, Clone)]
struct Bucket {
    region: Region,
    objects: BTreeMap<String, Object>,
}

/// A change that S3 took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    pub at: SimTime,
    pub region: Region,
    pub bucket: String,
    pub key: String,
    /// Whether the object is there after it.
    pub is_there: bool,
}

/// What a reader without credentials meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicRead {
    /// 200.
    Found,
    /// 404.
    Missing,
    /// 503, or another refusal.
    Unavailable,
    /// Nothing comes back.
    NoAnswer,
}

/// S3 of one account.
#[derive(Debug, Default)]
pub struct S3 {
    buckets: BTreeMap<String, Bucket>,
    /// Other addresses of objects, as of a proxy: host and path to bucket and key.
    sites: BTreeMap<(String, String), (String, String)>,
    pub effects: Vec<Effect>,
}

fn fault(status: u16, code: &'static str, message: impl Into<String>) -> ApiFault {
    ApiFault { status, code, message: message.into() }
}

/// Keys with their objects, in order, and whether there are more.
pub type Listed<'a> = (Vec<(&'a str, &'a Object)>, bool);

impl S3 {
    /// Adds an empty bucket. For fixtures.
    pub fn put_bucket(&mut self, region: &Region, name: &str) {
        let bucket = Bucket { region: region.clone(), objects: BTreeMap::new() };
        self.buckets.entry(name.to_owned()).or_insert(bucket);
    }

    /// Lets an object be there, as if it had always been: no change that anybody made. For fixtures.
    pub fn seed(&mut self, bucket: &str, key: &str, now: SimTime) {
        if let Some(there) = self.buckets.get_mut(bucket) {
            there
                .objects
                .insert(key.to_owned(), Object { body: b"as it was found".to_vec(), put_at: now, replication: None });
        }
    }

    /// Lets an object of `bytes` be there whose replication stands at `status`, and stays there. For fixtures.
    pub fn seed_replicated(&mut self, bucket: &str, key: &str, bytes: usize, status: &'static str, now: SimTime) {
        if let Some(there) = self.buckets.get_mut(bucket) {
            let object = Object { body: vec![b'.'; bytes], put_at: now, replication: Some(status) };
            there.objects.insert(key.to_owned(), object);
        }
    }

    /// `ListObjectsV2` at the endpoint of `region`: up to `most` objects after the key `after`, and whether there are more.
    ///
    /// # Errors
    /// `NoSuchBucket`, `PermanentRedirect`.
    pub fn list(
        &self,
        region: &Region,
        bucket: &str,
        after: Option<&str>,
        most: usize,
    ) -> Result<Listed<'_>, ApiFault> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.at(region, bucket)?.objects.range::<str, _>((from, Bound::Unbounded));
        let page = rest.by_ref().take(most).map(|(key, object)| (key.as_str(), object)).collect();
        Ok((page, rest.next().is_some()))
    }

    /// Where a bucket is.
    pub fn bucket_region(&self, name: &str) -> Option<&Region> {
        self.buckets.get(name).map(|bucket| &bucket.region)
    }

    /// Lets an object be read under another address too. For fixtures.
    pub fn put_site(&mut self, host: &str, path: &str, bucket: &str, key: &str) {
        let of = (bucket.to_owned(), key.to_owned());
        self.sites.insert((host.to_ascii_lowercase(), path.to_owned()), of);
    }

    /// The object, as it is; nobody is asked.
    pub fn object(&self, bucket: &str, key: &str) -> Option<&Object> {
        self.buckets.get(bucket)?.objects.get(key)
    }

    /// `HeadBucket` at the endpoint of `region`.
    ///
    /// # Errors
    /// `NoSuchBucket`, `PermanentRedirect`.
    pub fn head_bucket(&self, region: &Region, bucket: &str) -> Result<(), ApiFault> {
        self.at(region, bucket).map(|_| ())
    }

    /// `GetObject` and `HeadObject` at the endpoint of `region`.
    ///
    /// # Errors
    /// `NoSuchKey`, `NoSuchBucket`, `PermanentRedirect`.
    pub fn get(&self, region: &Region, bucket: &str, key: &str) -> Result<&Object, ApiFault> {
        let found = self.at(region, bucket)?.objects.get(key);
        found.ok_or_else(|| fault(404, "NoSuchKey", "The specified key does not exist."))
    }

    /// A request at the endpoint of another Region than the bucket's is sent away, and changes nothing.
    fn at(&self, region: &Region, bucket: &str) -> Result<&Bucket, ApiFault> {
        let found = self.buckets.get(bucket);
        let found = found.ok_or_else(|| fault(404, "NoSuchBucket", "The specified bucket does not exist"))?;
        if found.region != *region {
            let message = "The bucket you are attempting to access must be addressed using the specified endpoint. \
                           Please send all future requests to this endpoint.";
            return Err(fault(301, "PermanentRedirect", message));
        }
        Ok(found)
    }

    /// `PutObject`.
    ///
    /// # Errors
    /// As [`Self::get`], and `EntityTooLarge`.
    pub fn put(
        &mut self,
        region: &Region,
        bucket: &str,
        key: &str,
        body: &[u8],
        ctx: &mut Context<'_>,
    ) -> Result<(), ApiFault> {
        let full = OBJECTS_MAX <= self.at(region, bucket)?.objects.len() && self.object(bucket, key).is_none();
        if full || OBJECT_BYTES_MAX < body.len() {
            return Err(fault(400, "EntityTooLarge", "Your proposed upload exceeds what is simulated"));
        }
        let object = Object { body: body.to_vec(), put_at: ctx.now, replication: None };
        if let Some(there) = self.buckets.get_mut(bucket) {
            there.objects.insert(key.to_owned(), object);
        }
        self.changed(region, (bucket, key), true, ctx);
        Ok(())
    }

    /// `DeleteObject`: 204 whether or not there was one [S3 API].
    ///
    /// # Errors
    /// `NoSuchBucket`, `PermanentRedirect`.
    pub fn delete(&mut self, region: &Region, bucket: &str, key: &str, ctx: &mut Context<'_>) -> Result<(), ApiFault> {
        self.at(region, bucket)?;
        if let Some(there) = self.buckets.get_mut(bucket) {
            there.objects.remove(key);
        }
        self.changed(region, (bucket, key), false, ctx);
        Ok(())
    }

    fn changed(&mut self, region: &Region, (bucket, key): (&str, &str), is_there: bool, ctx: &mut Context<'_>) {
        let word = if is_there { "put" } else { "deleted" };
        ctx.log.push(WorldEvent { at: ctx.now, kind: "s3.changed", text: format!("s3://{bucket}/{key} was {word}") });
        if self.effects.len() < EFFECTS_MAX {
            let (bucket, key) = (bucket.to_owned(), key.to_owned());
            self.effects.push(Effect { at: ctx.now, region: region.clone(), bucket, key, is_there });
        }
    }

    /// What a reader without credentials and outside the Region meets at an address; `None` where no S3 answers there.
    pub fn read_publicly(&self, host: &str, path: &str, planes: &Planes) -> Option<PublicRead> {
        let (region, bucket, key) = self.addressed(host, path)?;
        Some(match planes.reach(Plane::S3, &region) {
            Reach::Hangs => PublicRead::NoAnswer,
            Reach::Unavailable | Reach::Throttles | Reach::DeniesAccess => PublicRead::Unavailable,
            Reach::Up => match self.get(&region, &bucket, &key) {
                Ok(_) => PublicRead::Found,
                Err(_) => PublicRead::Missing,
            },
        })
    }

    fn addressed(&self, host: &str, path: &str) -> Option<(Region, String, String)> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if let Some((bucket, key)) = self.sites.get(&(host.clone(), path.to_owned())) {
            return Some((self.bucket_region(bucket)?.clone(), bucket.clone(), key.clone()));
        }
        let name = host.strip_suffix(".amazonaws.com")?;
        let path = path.trim_start_matches('/');
        let (bucket, region, key) = match name.strip_prefix("s3.") {
            Some(region) => {
                let (bucket, key) = path.split_once('/')?;
                (bucket, region, key)
            }
            None => {
                let (bucket, region) = name.rsplit_once(".s3.")?;
                (bucket, region, path)
            }
        };
        Some((region.parse().ok()?, bucket.to_owned(), key.to_owned()))
    }
}

impl World {
    /// Calls S3 as it is now.
    pub fn with_s3<R>(&mut self, call: impl FnOnce(&mut S3, &mut Context<'_>) -> R) -> R {
        let mut ctx = Context { now: self.now, rng: &mut self.rng, planes: &self.planes, log: &mut self.log };
        call(&mut self.s3, &mut ctx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn west() -> Region {
        "us-west-2".parse().expect("a Region")
    }

    fn world() -> World {
        let mut world = World::new(7, SimTime(0));
        world.s3.put_bucket(&west(), "standby");
        world
    }

    const HOST: &str = "standby.s3.us-west-2.amazonaws.com";

    #[test]
    fn what_was_put_is_there_at_once_and_what_was_deleted_is_gone_and_both_may_be_repeated() {
        let mut world = world();
        for _ in 0..2 {
            world.with_s3(|s3, ctx| s3.put(&west(), "standby", "a/b", b"x", ctx)).expect("put");
            assert_eq!(world.s3.read_publicly(HOST, "/a/b", &world.planes), Some(PublicRead::Found));
        }
        for _ in 0..2 {
            world.with_s3(|s3, ctx| s3.delete(&west(), "standby", "a/b", ctx)).expect("deleted");
            assert_eq!(world.s3.read_publicly(HOST, "/a/b", &world.planes), Some(PublicRead::Missing));
        }
        assert_eq!(world.s3.effects.iter().map(|e| e.is_there).collect::<Vec<_>>(), [true, true, false, false]);
    }

    #[test]
    fn another_region_sends_the_caller_away_and_a_bucket_that_is_not_there_is_no_missing_key() {
        let mut world = world();
        let east = "us-east-1".parse().expect("a Region");
        let put = world.with_s3(|s3, ctx| s3.put(&east, "standby", "a", b"x", ctx));
        assert_eq!(put.expect_err("refused").code, "PermanentRedirect");
        assert_eq!(world.s3.get(&west(), "nobody", "a").expect_err("refused").code, "NoSuchBucket");
        assert_eq!(world.s3.get(&west(), "standby", "a").expect_err("refused").code, "NoSuchKey");
        assert!(world.s3.effects.is_empty());
    }

    #[test]
    fn a_broken_plane_shows_to_readers_and_another_address_leads_to_the_same_object() {
        let mut world = world();
        world.s3.put_site("traffic.example.com", "/standby", "standby", "a");
        world.with_s3(|s3, ctx| s3.put(&west(), "standby", "a", b"x", ctx)).expect("put");
        let read = |world: &World, host: &str, path: &str| world.s3.read_publicly(host, path, &world.planes);
        for (host, path) in
            [(HOST, "/a"), ("s3.us-west-2.amazonaws.com", "/standby/a"), ("Traffic.example.com.", "/standby")]
        {
            assert_eq!(read(&world, host, path), Some(PublicRead::Found), "{host}");
        }
        assert_eq!(read(&world, "example.com", "/a"), None);
        world.set_plane(Plane::S3, &west(), Reach::Hangs);
        assert_eq!(read(&world, HOST, "/a"), Some(PublicRead::NoAnswer));
        world.set_plane(Plane::S3, &west(), Reach::Unavailable);
        assert_eq!(read(&world, HOST, "/a"), Some(PublicRead::Unavailable));
    }
}
