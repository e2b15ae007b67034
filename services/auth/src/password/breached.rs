//! The passwords that are known from breaches, in the format of Have I Been Pwned: SHA-1 hashes with the number of their
//! occurrences, as the "Pwned Passwords downloader" writes them. The list is searched on the disk, and no password and no
//! hash leaves the process.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// The hexadecimal digits of a hash, and of the prefix that names a file of a range.
const DIGITS: usize = 40;
const PREFIX: usize = 5;
/// More than two lines of 40 digits, a colon, a count and a line break.
const TWO_LINES: usize = 256;
/// The largest file of a range. Those of 2026 have 70 KiB.
const LARGEST_RANGE: u64 = 8 << 20;

/// A list of passwords.
#[derive(Debug, Clone)]
pub(crate) enum Breached {
    /// One file of all hashes, sorted.
    File(PathBuf),
    /// A folder with one file for each range of hashes: `0A1B2.txt` or `0A1B2`, with the other 35 digits.
    Folder(PathBuf),
}

impl Breached {
    /// Checks that `path` is such a list. It may be replaced while the process runs.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if fs::metadata(path)?.is_dir() {
            let list = Self::Folder(path.to_owned());
            list.counts(&"0".repeat(DIGITS))?;
            return Ok(list);
        }
        line_at(&File::open(path)?, 0)?;
        Ok(Self::File(path.to_owned()))
    }

    /// Whether the list has the password.
    pub(super) fn contains(&self, password: &str) -> io::Result<bool> {
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
        let digits: String = hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        self.counts(&digits)
    }

    fn counts(&self, digits: &str) -> io::Result<bool> {
        match self {
            Self::File(path) => search(&File::open(path)?, digits),
            Self::Folder(folder) => {
                let (prefix, rest) = digits.split_at(PREFIX);
                scan(range(folder, prefix)?, rest)
            }
        }
    }
}

/// The file of a range.
fn range(folder: &Path, prefix: &str) -> io::Result<File> {
    match File::open(folder.join(format!("{prefix}.txt"))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => File::open(folder.join(prefix)).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("the file {prefix}.txt of the range is missing: download the whole list"),
            )
        }),
        opened => opened,
    }
}

/// Whether a file of a range has the rest of a hash.
fn scan(file: File, rest: &str) -> io::Result<bool> {
    let mut lines = BufReader::new(file.take(LARGEST_RANGE));
    let mut line = Vec::with_capacity(TWO_LINES);
    while lines.by_ref().take(TWO_LINES as u64).read_until(b'\n', &mut line)? > 0 {
        let (digits, is_counted) = parse(&line, DIGITS - PREFIX)?;
        if digits.eq_ignore_ascii_case(rest.as_bytes()) {
            return Ok(is_counted);
        }
        line.clear();
    }
    Ok(false)
}

/// Searches a sorted file: about 36 reads of 256 bytes in a file of 40 GB.
fn search(file: &File, wanted: &str) -> io::Result<bool> {
    let (mut low, mut high) = (0, file.metadata()?.len());
    // The line, if there is one, begins in low..high.
    while low < high {
        let middle = low + (high - low) / 2;
        let Some(line) = line_at(file, middle)?.filter(|line| line.begin < high) else {
            high = middle;
            continue;
        };
        match wanted.as_bytes().cmp(&line.digits.to_ascii_uppercase()) {
            std::cmp::Ordering::Equal => return Ok(line.is_counted),
            std::cmp::Ordering::Less => high = middle,
            std::cmp::Ordering::Greater => low = line.end,
        }
    }
    Ok(false)
}

/// A line of a sorted file.
struct Line {
    begin: u64,
    end: u64,
    digits: Vec<u8>,
    is_counted: bool,
}

/// The first line that begins at `offset` or later.
fn line_at(file: &File, offset: u64) -> io::Result<Option<Line>> {
    let mut bytes = [0; TWO_LINES];
    // With the byte before, which shows whether a line begins at the offset.
    let from = offset.saturating_sub(1);
    let read = fill(file, &mut bytes, from)?;
    let bytes = bytes.get(..read).unwrap_or_default();
    let skipped = match offset {
        0 => 0,
        _ => match bytes.iter().position(|byte| *byte == b'\n') {
            Some(at) => at + 1,
            None if read < TWO_LINES => return Ok(None),
            None => return Err(malformed()),
        },
    };
    let rest = bytes.get(skipped..).unwrap_or_default();
    if rest.is_empty() {
        return Ok(None);
    }
    let length = match rest.iter().position(|byte| *byte == b'\n') {
        Some(at) => at + 1,
        None if read < TWO_LINES => rest.len(),
        None => return Err(malformed()),
    };
    let (digits, is_counted) = parse(rest.get(..length).unwrap_or_default(), DIGITS)?;
    let begin = from + skipped as u64;
    Ok(Some(Line { begin, end: begin + length as u64, digits: digits.to_owned(), is_counted }))
}

fn fill(file: &File, bytes: &mut [u8], from: u64) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, from + read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}

/// The digits of a line, and whether their count is not 0: ranges may be padded with lines of the count 0.
fn parse(line: &[u8], digits: usize) -> io::Result<(&[u8], bool)> {
    let line = line.trim_ascii_end();
    let (hash, count) = line.split_at_checked(digits).ok_or_else(malformed)?;
    let count = count.strip_prefix(b":").ok_or_else(malformed)?;
    if !hash.iter().all(u8::is_ascii_hexdigit) || count.is_empty() || !count.iter().all(u8::is_ascii_digit) {
        return Err(malformed());
    }
    Ok((hash, count.iter().any(|digit| *digit != b'0')))
}

fn malformed() -> io::Error {
    let message = "is not a list of SHA-1 hashes, sorted, with lines of the form HASH:COUNT";
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn hash(password: &str) -> String {
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
        hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect()
    }

    #[test]
    fn every_line_of_a_sorted_file_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pwned.txt");
        for (lines, end) in [(0, "\n"), (1, "\n"), (2, "\r\n"), (500, "\r\n"), (501, "\n")] {
            let mut hashes: Vec<_> = (0..lines).map(|n| hash(&format!("password {n}"))).collect();
            hashes.sort();
            let text: String = hashes.iter().fold(String::new(), |mut text, hash| {
                write!(text, "{hash}:{}{end}", text.len() + 1).unwrap();
                text
            });
            // With and without a line break at the end.
            for text in [text.as_str(), text.trim_end()] {
                fs::write(&path, text).unwrap();
                let list = Breached::open(&path).unwrap();
                for n in 0..lines {
                    assert!(list.contains(&format!("password {n}")).unwrap(), "{n} of {lines}");
                }
                for other in ["", "password", "password -1", "correct horse battery staple"] {
                    assert!(!list.contains(other).unwrap(), "{other} among {lines}");
                }
            }
        }
    }

    #[test]
    fn folder_of_ranges_is_searched() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Breached::open(folder.path()).unwrap_err().to_string();
        assert!(missing.contains("00000.txt"), "{missing}");
        fs::write(folder.path().join("00000.txt"), "").unwrap();
        for (password, count, name) in [("swordfish", 3, ".txt"), ("padding", 0, "")] {
            let (prefix, rest) = (&hash(password)[..5], &hash(password)[5..]);
            let lines = format!("{}:1\r\n{rest}:{count}\r\n{}:0", "0".repeat(35), "F".repeat(35));
            fs::write(folder.path().join(format!("{prefix}{name}")), lines).unwrap();
        }
        let list = Breached::open(folder.path()).unwrap();
        assert!(list.contains("swordfish").unwrap());
        assert!(!list.contains("padding").unwrap(), "a count of 0 pads the range");
        assert!(list.contains("another range").is_err(), "an incomplete list is an error");
    }

    #[test]
    fn file_of_another_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        // Plain passwords, NTLM hashes, and a file without line breaks.
        for bad in ["password\n123456\n".to_owned(), format!("{}:3\n", "A".repeat(32)), "A".repeat(1_000)] {
            fs::write(&path, &bad).unwrap();
            assert_eq!(Breached::open(&path).unwrap_err().kind(), io::ErrorKind::InvalidData, "{bad}");
        }
        assert_eq!(Breached::open(&folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
