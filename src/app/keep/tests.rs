use super::*;
use crate::domain::evidence::{self, tests::evidence};

fn names(dir: &Path) -> Vec<String> {
    let mut all: Vec<_> = fs::read_dir(dir)
        .expect("a directory")
        .map(|e| e.expect("one").file_name().to_string_lossy().into_owned())
        .collect();
    all.sort();
    all
}

fn run() -> RunId {
    evidence().header.run
}

fn both() -> Vec<String> {
    vec![page_of(&run()), lines_of(&run())]
}

#[test]
fn both_files_are_written_once_and_can_be_proved() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("made/below");
    write(&dir, &evidence(), None).expect("written");
    assert_eq!(names(&dir), both(), "and nothing of the writing is left");
    let text = fs::read_to_string(dir.join(lines_of(&run()))).expect("read");
    evidence::verify(&text, |_, _| false).expect("proved");
    assert!(fs::read_to_string(dir.join(page_of(&run()))).expect("read").contains("nobody: no key is configured"));
    assert!(mend(&dir, &run()).expect("looked at"));
    let before = fs::metadata(dir.join(lines_of(&run()))).expect("there").modified().expect("a time");
    write(&dir, &evidence(), None).expect("the same again is there already");
    assert_eq!(fs::metadata(dir.join(lines_of(&run()))).expect("there").modified().expect("a time"), before);
}

/// A life that ended between the two writes, or within one.
#[test]
fn what_a_life_before_left_half_done_is_swept_and_ended_from_what_it_wrote() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    // Of another release: what is asked for now would be another file.
    let kept = sealed_again(&evidence().sealed(None).replacen("failoverd 0.0.0", "failoverd 0.0.9", 1));
    put(dir, &lines_of(&run()), &kept).expect("written");
    fs::write(dir.join(format!(".{}.4711{PART}", page_of(&run()))), "<!doc").expect("written");
    fs::write(dir.join(".hidden.part"), "somebody's").expect("written");
    sweep(dir).expect("swept");
    assert!(mend(dir, &run()).expect("mended"));
    let mut expected = both();
    expected.insert(0, ".hidden.part".to_owned());
    assert_eq!(names(dir), expected, "what is not ours is left alone");
    assert_eq!(fs::read_to_string(dir.join(lines_of(&run()))).expect("read"), kept);
    let page = fs::read_to_string(dir.join(page_of(&run()))).expect("read");
    assert!(page.contains(Digest::of(kept.as_bytes()).as_str()) && page.contains("failoverd 0.0.9"), "{page}");
}

/// `text` with a seal that fits what stands before it.
fn sealed_again(text: &str) -> String {
    let last = text.trim_end().rfind('\n').expect("lines") + 1;
    let body = &text[..last];
    let seal = &text[last..];
    let digest = seal.split('"').nth(5).expect("a digest");
    format!("{body}{}", seal.replace(digest, Digest::of(body.as_bytes()).as_str()))
}

#[test]
fn nothing_that_stands_there_is_written_over_and_it_is_said_what() {
    for name in both() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path();
        fs::write(dir.join(&name), "somebody's").expect("written");
        let said = match mend(dir, &run()) {
            Ok(has_both) => {
                assert!(!has_both);
                write(dir, &evidence(), None).expect_err("taken").to_string()
            }
            Err(error) => error.to_string(),
        };
        assert!(said.contains(&name), "{said}");
        assert_eq!(fs::read_to_string(dir.join(&name)).expect("read"), "somebody's");
        assert!(mend(dir, &run()).is_err(), "nor is it taken for kept at the next look");
        assert!(names(dir).iter().all(|name| !name.ends_with(PART)), "{:?}", names(dir));
    }
}

#[test]
fn a_full_disk_and_a_directory_that_is_none_are_errors_that_leave_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    let full = |_: &Path| fs::OpenOptions::new().write(true).open("/dev/full");
    let error = put_through(dir, "a.jsonl", "text", full).expect_err("full");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(names(dir), [] as [String; 0]);
    fs::write(dir.join("file"), "").expect("written");
    assert!(write(&dir.join("file"), &evidence(), None).is_err());
    assert!(write(Path::new("/proc/failoverd"), &evidence(), None).is_err(), "nobody may write there");
    assert!(sweep(&dir.join("absent")).is_ok() && sweep(&dir.join("file")).is_err());
}

/// Opening a FIFO waits for a writer, and a device has no end: neither is read, and both are said to be what they are.
#[test]
fn a_fifo_and_a_device_are_refused_without_waiting() {
    for name in both() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().to_owned();
        let fifo = dir.join(&name);
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs");
        assert!(made.success());
        if name != lines_of(&run()) {
            put(&dir, &lines_of(&run()), &evidence().sealed(None)).expect("written");
        }
        let (said, heard) = std::sync::mpsc::channel();
        let (place, id) = (dir.clone(), run());
        std::thread::spawn(move || {
            let mended = mend(&place, &id).map_err(|e| e.to_string());
            let written = write(&place, &evidence(), None).map_err(|e| e.to_string());
            said.send((mended, written))
        });
        let (mended, written) = heard.recv_timeout(Duration::from_secs(20)).expect("nobody waits for a writer");
        for error in [mended.map(drop), written] {
            assert_eq!(error, Err(format!("{name} is there, and is no plain file")));
        }
    }
    let device = read(Path::new("/dev/zero")).expect_err("a device has no end").to_string();
    assert_eq!(device, "zero is there, and is no plain file");
}

#[test]
fn each_reason_is_told_once_until_all_is_kept_again() {
    let mut told = Told::default();
    let failed = |why: &str| (run(), why.to_owned());
    let both = vec![failed("no space"), failed("not whole"), failed("no space")];
    assert_eq!(told.fresh(both.clone()), [failed("no space"), failed("not whole")]);
    assert_eq!(told.fresh(both), []);
    assert_eq!(
        told.fresh(vec![failed("not whole"), failed("denied")]),
        [failed("denied")],
        "a second reason is told too"
    );
    assert!(told.all_is_well());
    assert!(!told.all_is_well(), "and it is said once");
    assert_eq!(told.fresh(vec![failed("no space")]), [failed("no space")], "it is news again");
    let many: Vec<_> = (0..2 * TOLD_MAX).map(|n| failed(&format!("reason {n}"))).collect();
    assert_eq!(told.fresh(many).len(), TOLD_MAX - 1, "and a limit holds");
}
