//! The runbooks that come with the binary, so that the demo runs wherever the binary does.

use std::{io, path::Path};

/// The shipped runbooks: file name and text.
pub const RUNBOOKS: [(&str, &str); 4] = [
    ("region-failover.yaml", include_str!("../runbooks/region-failover.yaml")),
    ("region-switchover.yaml", include_str!("../runbooks/region-switchover.yaml")),
    ("dns-flip.yaml", include_str!("../runbooks/dns-flip.yaml")),
    ("failback.yaml", include_str!("../runbooks/failback.yaml")),
];

/// Writes the shipped runbooks into `directory`.
pub fn write_runbooks(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    RUNBOOKS.iter().try_for_each(|(name, text)| std::fs::write(directory.join(name), text))
}
