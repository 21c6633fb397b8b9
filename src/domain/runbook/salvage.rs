//! How the `with` of the looks of a salvage is read, and what each is about.

use std::time::Duration;

use super::{Act, Spread};
use crate::domain::{
    document::{Fields, Findings},
    id::StoreName,
    salvage::OBJECTS_BEFORE,
};

/// Two weeks: with more, most of a bucket would be asked about, and the listing cut.
const BEFORE_MAX: Duration = Duration::from_hours(14 * 24);

/// What is looked at in the Region that was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Salvaged {
    Snapshot,
    Conflicts,
    Objects { before: Duration },
}

impl Salvaged {
    pub fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "salvage.snapshot",
            Self::Conflicts => "salvage.conflicts",
            Self::Objects { .. } => "salvage.objects",
        }
    }

    pub(super) fn spread(self) -> Spread {
        match self {
            Self::Snapshot => Spread::Stores,
            Self::Conflicts => Spread::Tables,
            Self::Objects { .. } => Spread::Buckets,
        }
    }
}

pub(super) fn read(name: &str, store: Option<StoreName>, with: &mut Fields<'_>, found: &mut Findings) -> Option<Act> {
    let what = match name {
        "salvage.snapshot" => Salvaged::Snapshot,
        "salvage.conflicts" => Salvaged::Conflicts,
        _ => {
            let before = with.get(found, "before", "before: 24h");
            let before = before.map_or(Some(OBJECTS_BEFORE), |at| at.duration(found, Duration::ZERO, BEFORE_MAX));
            Salvaged::Objects { before: before? }
        }
    };
    Some(Act::Salvage { store, what })
}
