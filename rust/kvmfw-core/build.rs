//! Tells the core which source it is made of: what tells VMs apart may change with any line of it.

use std::collections::BTreeSet;
use std::fs::{read, read_dir};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

fn main() -> std::io::Result<()> {
    let mut files = BTreeSet::new();
    find(Path::new("src"), &mut files)?;
    let mut state = DefaultHasher::new();
    for file in files {
        // As it is on every machine: the path with its parts, the text without what Git adds at ends of lines.
        for part in &file {
            part.hash(&mut state);
        }
        read(&file)?.into_iter().filter(|byte| *byte != b'\r').for_each(|byte| state.write_u8(byte));
    }
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rustc-env=KVMFW_SOURCE={:016x}", state.finish());
    Ok(())
}

fn find(folder: &Path, files: &mut BTreeSet<PathBuf>) -> std::io::Result<()> {
    for entry in read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else {
            files.insert(path);
        }
    }
    Ok(())
}
