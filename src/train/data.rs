//! Handwritten digits in MNIST's IDX format, from a folder or from the set embedded in the binary.
//!
//! In comes a folder with four files, `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same two with `t10k-` or
//! `test-`, gzipped or not; out come [`Digits`].
//!
//! It guarantees that what it returns is whole: as many labels as images, every label below [`CLASSES`], images of one
//! size in both halves, none of them empty. Headers are not trusted: a size beyond the limits is refused before anything
//! is allocated for it, and memory grows only as bytes really arrive. Each way to be malformed has its own error.
//!
//! It deliberately downloads nothing and changes no pixel beyond dividing it by 255. Pixels stay bytes in memory, a quarter
//! of what f32 takes, and become f32 as a batch is gathered.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use ndarray::ArrayViewMut2;

/// Labels are digits: 0 to 9.
pub(super) const CLASSES: usize = 10;

/// The largest image that is accepted, in pixels: 256 x 256.
const MAX_PIXELS: u64 = 1 << 16;

/// The largest file that is accepted, in bytes after decompression. EMNIST's largest split takes 0.6 GiB.
const MAX_BYTES: u64 = 1 << 30;

/// Images to train on and images to test on, all of one size.
#[derive(Clone, Debug)]
pub struct Digits {
    train: Split,
    test: Split,
}

/// Images with their labels, in the order of the file.
#[derive(Clone, Debug)]
pub struct Split {
    /// Image after image, row after row: `len() * rows * cols` bytes.
    pixels: Vec<u8>,
    /// One per image, each below [`CLASSES`].
    labels: Vec<u8>,
    rows: usize,
    cols: usize,
}

impl Digits {
    /// Tells these digits from all others: XXH3 of the images and labels, in hex.
    pub(super) fn fingerprint(&self) -> String {
        let mut hash = twox_hash::XxHash3_128::new();
        for Split { pixels, labels, rows, cols } in [&self.train, &self.test] {
            [rows, cols, &labels.len()].iter().for_each(|n| hash.write(&(**n as u64).to_le_bytes()));
            hash.write(pixels);
            hash.write(labels);
        }
        format!("{:032x}", hash.finish_128())
    }

    /// How many numbers an image has.
    pub(super) fn size(&self) -> usize {
        self.train.rows * self.train.cols
    }

    /// The embedded set: 8,000 images of 28 x 28 to train on and 2,000 to test on, a part of MNIST.
    ///
    /// # Errors
    /// None in practice: the embedded files are read like any other, and a test reads them.
    pub fn built_in() -> Result<Digits, DataError> {
        let bytes: [(&str, &[u8]); 4] = [
            ("train-images-idx3-ubyte.gz", include_bytes!("mnist-10k/train-images-idx3-ubyte.gz")),
            ("train-labels-idx1-ubyte.gz", include_bytes!("mnist-10k/train-labels-idx1-ubyte.gz")),
            ("test-images-idx3-ubyte.gz", include_bytes!("mnist-10k/test-images-idx3-ubyte.gz")),
            ("test-labels-idx1-ubyte.gz", include_bytes!("mnist-10k/test-labels-idx1-ubyte.gz")),
        ];
        let [train_images, train_labels, test_images, test_labels] =
            bytes.map(|(name, bytes)| (Path::new("(built-in)").join(name), bytes));
        digits(split(train_images, train_labels)?, split(test_images, test_labels)?)
    }

    /// Reads an MNIST-format folder. Each file may be gzipped, whatever its name says, and may be spelled
    /// `train-images-idx3-ubyte` or `train-images.idx3-ubyte`, with or without `.gz`. If there are both `t10k-` and `test-`
    /// images, `t10k-` are used.
    ///
    /// # Errors
    /// [`DataError`] names the file, what is wrong with it, and what to do.
    pub fn read(folder: &Path) -> Result<Digits, DataError> {
        let train_images = find(folder, &["train"], "images", 3)?;
        let train_labels = find(folder, &["train"], "labels", 1)?;
        let test_images = find(folder, &["t10k", "test"], "images", 3)?;
        let test_labels = find(folder, &[test_images.stem], "labels", 1)?;
        let train = split(train_images.open(), train_labels.open())?;
        digits(train, split(test_images.open(), test_labels.open())?)
    }

    /// The images to train on.
    pub fn train(&self) -> &Split {
        &self.train
    }

    /// The images to test on.
    pub fn test(&self) -> &Split {
        &self.test
    }
}

impl Split {
    /// The number of images, at least 1.
    #[allow(clippy::len_without_is_empty)] // It is never empty.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The height and width of every image, in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// The digit that each image shows, below 10.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// Writes the chosen images, flattened and divided by 255, into the rows of `images` `(n, rows * cols)`, and their labels
    /// into `labels`, `n` of them.
    pub(super) fn gather(&self, chosen: &[u32], mut images: ArrayViewMut2<'_, f32>, labels: &mut [u8]) {
        let pixels = self.rows * self.cols;
        for ((&index, label), mut image) in chosen.iter().zip(labels).zip(images.rows_mut()) {
            let index = index as usize;
            *label = self.labels[index];
            let bytes = &self.pixels[index * pixels..][..pixels];
            image.iter_mut().zip(bytes).for_each(|(to, &byte)| *to = f32::from(byte) / 255.0);
        }
    }
}

#[cfg(test)]
impl Digits {
    /// Small sets for tests of the loop.
    pub(super) fn from_parts(train: Split, test: Split) -> Digits {
        Digits { train, test }
    }
}

#[cfg(test)]
impl Split {
    pub(super) fn from_parts(pixels: Vec<u8>, labels: Vec<u8>, rows: usize, cols: usize) -> Split {
        assert_eq!(pixels.len(), labels.len() * rows * cols);
        Split { pixels, labels, rows, cols }
    }

    pub(super) fn first(&self, count: usize) -> Split {
        let pixels = self.pixels[..count * self.rows * self.cols].to_vec();
        Split { pixels, labels: self.labels[..count].to_vec(), ..*self }
    }
}

/// Why digits could not be read.
#[derive(Debug)]
pub enum DataError {
    /// The folder itself is not there, or is a file.
    NotAFolder {
        /// The path that was given.
        folder: PathBuf,
    },
    /// A file is not in the folder under any of its names.
    Missing {
        /// The folder that was searched.
        folder: PathBuf,
        /// The names that were looked for; each also with `.gz`.
        tried: Vec<String>,
    },
    /// The operating system, or the decompressor, gave up on a file.
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The first four bytes are not those of the format.
    Magic {
        /// The file.
        path: PathBuf,
        /// The bytes that were found.
        found: [u8; 4],
        /// The bytes that such a file begins with.
        expected: [u8; 4],
    },
    /// The file ends early.
    Truncated {
        /// The file.
        path: PathBuf,
        /// The bytes that there should be, after decompression.
        expected: u64,
        /// The bytes that there are.
        found: u64,
    },
    /// The file goes on after what its header announces.
    TooLong {
        /// The file.
        path: PathBuf,
        /// The bytes that there should be, after decompression.
        expected: u64,
    },
    /// The header announces more than is accepted.
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The sizes in the header: items, then rows and columns for images.
        sizes: Vec<u32>,
    },
    /// The header announces no items, or images without pixels.
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// There are not as many labels as images.
    Counts {
        /// The file of images.
        images: PathBuf,
        /// How many images it holds.
        image_count: usize,
        /// The file of labels.
        labels: PathBuf,
        /// How many labels it holds.
        label_count: usize,
    },
    /// A label is not a digit.
    Label {
        /// The file of labels.
        path: PathBuf,
        /// Which label, from 0.
        index: usize,
        /// What it says.
        label: u8,
    },
    /// The images to train on and to test on differ in size.
    Sizes {
        /// Height and width of the images to train on.
        train: (usize, usize),
        /// Height and width of the images to test on.
        test: (usize, usize),
    },
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataError::NotAFolder { folder } => write!(
                f,
                "there is no folder `{}`; give --data a folder with MNIST's four files, or leave it out for the built-in digits",
                folder.display()
            ),
            DataError::Missing { folder, tried } => write!(
                f,
                "the folder `{}` has no {}; put the file there (with .gz if it is gzipped), or leave out --data for the built-in digits",
                folder.display(),
                tried.join(" or ")
            ),
            DataError::Io { path, source } => write!(f, "cannot read `{}`: {source}", path.display()),
            DataError::Magic { path, found, expected } => {
                let kind = match found {
                    [0, 0, 8, 1] => "this is a file of labels, not of images; are two files swapped?",
                    [0, 0, 8, 3] => "this is a file of images, not of labels; are two files swapped?",
                    [0, 0, ..] => "this is an IDX file of another kind; only unsigned bytes are read",
                    _ => "this is not an IDX file; is the download complete, and not a web page?",
                };
                write!(f, "`{}` begins with the bytes {found:02x?} instead of {expected:02x?}: {kind}", path.display())
            }
            DataError::Truncated { path, expected, found } => write!(
                f,
                "`{}` ends after {found} of {expected} bytes (uncompressed); fetch the file again",
                path.display()
            ),
            DataError::TooLong { path, expected } => write!(
                f,
                "`{}` goes on after the {expected} bytes (uncompressed) that its header announces; its header is wrong or \
                 something was appended",
                path.display()
            ),
            DataError::TooLarge { path, sizes } => {
                let sizes: Vec<String> = sizes.iter().map(u32::to_string).collect();
                write!(
                    f,
                    "the header of `{}` announces {} bytes; images of up to {MAX_PIXELS} pixels and files of up to 1 GiB are \
                     read, so the file is probably damaged",
                    path.display(),
                    sizes.join(" x ")
                )
            }
            DataError::Empty { path } => {
                write!(f, "`{}` holds nothing: a size in its header is 0; fetch the file again", path.display())
            }
            DataError::Counts { images, image_count, labels, label_count } => write!(
                f,
                "`{}` holds {image_count} images but `{}` holds {label_count} labels; the two files belong to different sets",
                images.display(),
                labels.display()
            ),
            DataError::Label { path, index, label } => write!(
                f,
                "label {index} (from 0) of `{}` is {label}; the network tells 10 classes apart, so labels go from 0 to 9",
                path.display()
            ),
            DataError::Sizes { train, test } => write!(
                f,
                "the images to train on are {} x {} pixels but those to test on are {} x {}; the files belong to different sets",
                train.0, train.1, test.0, test.1
            ),
        }
    }
}

impl std::error::Error for DataError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            DataError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A file that was found, under which of the stems, and open.
struct Found<'a> {
    stem: &'a str,
    path: PathBuf,
    file: File,
}

impl Found<'_> {
    fn open(self) -> (PathBuf, BufReader<File>) {
        (self.path, BufReader::new(self.file))
    }
}

/// Opens the first of the names that a file may have. Opening rather than asking whether it exists, so that a file that may
/// not be read is reported as that and not as missing.
fn find<'a>(folder: &Path, stems: &[&'a str], what: &str, dims: usize) -> Result<Found<'a>, DataError> {
    if !folder.is_dir() {
        return Err(DataError::NotAFolder { folder: folder.to_path_buf() });
    }
    let mut tried = Vec::new();
    for &stem in stems {
        for separator in ["-", "."] {
            let name = format!("{stem}-{what}{separator}idx{dims}-ubyte");
            for path in [folder.join(&name), folder.join(format!("{name}.gz"))] {
                match File::open(&path) {
                    Ok(file) => return Ok(Found { stem, path, file }),
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(source) => return Err(DataError::Io { path, source }),
                }
            }
            tried.push(name);
        }
    }
    Err(DataError::Missing { folder: folder.to_path_buf(), tried })
}

/// Reads images and the labels that belong to them.
fn split<R: Read>(images: (PathBuf, R), labels: (PathBuf, R)) -> Result<Split, DataError> {
    let ([image_count, rows, cols], pixels) = read_idx::<3>(&images.0, images.1)?;
    let ([label_count], digits) = read_idx::<1>(&labels.0, labels.1)?;
    if image_count != label_count {
        return Err(DataError::Counts { images: images.0, image_count, labels: labels.0, label_count });
    }
    if let Some((index, &label)) = digits.iter().enumerate().find(|&(_, &label)| usize::from(label) >= CLASSES) {
        return Err(DataError::Label { path: labels.0, index, label });
    }
    Ok(Split { pixels, labels: digits, rows, cols })
}

/// Joins the two halves, whose images must be of one size because one network sees both.
fn digits(train: Split, test: Split) -> Result<Digits, DataError> {
    if train.size() != test.size() {
        return Err(DataError::Sizes { train: train.size(), test: test.size() });
    }
    Ok(Digits { train, test })
}

/// Reads one file of bytes with `DIMS` dimensions, gzipped or not: its sizes, and all its items in one piece.
fn read_idx<const DIMS: usize>(path: &Path, mut raw: impl Read) -> Result<([usize; DIMS], Vec<u8>), DataError> {
    // Content decides, not the name: some downloads unzip a file and keep its `.gz`. No IDX file begins with 1f 8b.
    let start = read_up_to(path, &mut raw, 2, 0)?;
    let gzipped = start == [0x1f, 0x8b];
    let whole = io::Cursor::new(start).chain(raw);
    let mut reader: Box<dyn Read> = if gzipped { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) };

    let expected_magic = [0, 0, 8, DIMS as u8];
    let header_len = 4 + 4 * DIMS as u64;
    let header = read_up_to(path, &mut reader, header_len, 0)?;
    if let Some(&found) = header.first_chunk::<4>()
        && found != expected_magic
    {
        return Err(DataError::Magic { path: path.to_path_buf(), found, expected: expected_magic });
    }
    if (header.len() as u64) < header_len {
        let found = header.len() as u64;
        return Err(DataError::Truncated { path: path.to_path_buf(), expected: header_len, found });
    }
    let mut sizes = [0_u32; DIMS];
    for (size, bytes) in sizes.iter_mut().zip(header[4..].chunks_exact(4)) {
        *size = bytes.iter().fold(0, |value, &byte| value << 8 | u32::from(byte));
    }
    if sizes.contains(&0) {
        return Err(DataError::Empty { path: path.to_path_buf() });
    }

    // Saturation is enough here: a product that saturates is far beyond every limit.
    let product = |sizes: &[u32]| sizes.iter().fold(1, |product: u64, &size| product.saturating_mul(u64::from(size)));
    let body_len = product(&sizes);
    if product(&sizes[1..]) > MAX_PIXELS || body_len > MAX_BYTES {
        return Err(DataError::TooLarge { path: path.to_path_buf(), sizes: sizes.to_vec() });
    }
    // One byte more than announced, to see whether the file ends there.
    let body = read_up_to(path, &mut reader, body_len, 1)?;
    let (expected, found) = (header_len + body_len, header_len + body.len() as u64);
    if found < expected {
        return Err(DataError::Truncated { path: path.to_path_buf(), expected, found });
    }
    if found > expected {
        return Err(DataError::TooLong { path: path.to_path_buf(), expected });
    }
    Ok((sizes.map(|size| size as usize), body))
}

/// Reads `expected` bytes and up to `spare` more, or until the end. A gzip stream that is cut off ends where it is cut,
/// unless it holds all that is expected: then only its checksum is missing, and that is an error of the stream.
fn read_up_to(path: &Path, reader: &mut impl Read, expected: u64, spare: u64) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    match reader.take(expected + spare).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof && (bytes.len() as u64) < expected => Ok(bytes),
        Err(source) => Err(DataError::Io { path: path.to_path_buf(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    /// An IDX file: magic, sizes, body.
    fn idx(sizes: &[u32], body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, sizes.len() as u8];
        sizes.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
        bytes.extend(body);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn images(bytes: &[u8]) -> Result<([usize; 3], Vec<u8>), DataError> {
        read_idx::<3>(Path::new("images"), bytes)
    }

    fn read_split(images: &[u8], labels: &[u8]) -> Result<Split, DataError> {
        split((PathBuf::from("images"), images), (PathBuf::from("labels"), labels))
    }

    /// A folder of its own for one test, removed when the test ends well.
    fn folder(test: &str, files: &[(&str, Vec<u8>)]) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("updraft-data-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        files.iter().for_each(|(name, bytes)| std::fs::write(folder.join(name), bytes).unwrap());
        folder
    }

    #[test]
    fn built_in_set_is_whole() {
        let digits = Digits::built_in().unwrap();
        assert_eq!((digits.train().len(), digits.test().len()), (8000, 2000));
        assert_eq!((digits.train().size(), digits.test().size()), ((28, 28), (28, 28)));
        // Every digit is there about as often as the others.
        for split in [digits.train(), digits.test()] {
            for digit in 0..10 {
                let share = split.labels().iter().filter(|&&it| it == digit).count() as f64 / split.len() as f64;
                assert!((0.07..0.13).contains(&share), "digit {digit}: {share}");
            }
        }
        let ink: u64 = digits.train().pixels.iter().map(|&byte| u64::from(byte)).sum();
        let mean = ink as f64 / digits.train().pixels.len() as f64 / 255.0;
        assert!((mean - 0.13).abs() < 0.01, "MNIST's mean pixel is 0.13, not {mean}");
    }

    #[test]
    fn gather_scales_and_orders() {
        let split = read_split(&idx(&[3, 1, 2], &[0, 51, 255, 102, 1, 2]), &idx(&[3], &[7, 8, 9])).unwrap();
        let mut to = ndarray::Array2::zeros((2, 2));
        let mut labels = [0; 2];
        split.gather(&[2, 1], to.view_mut(), &mut labels);
        assert_eq!(to, ndarray::array![[1.0 / 255.0, 2.0 / 255.0], [1.0, 0.4]]);
        assert_eq!(labels, [9, 8]);
    }

    #[test]
    fn folders_in_every_spelling() {
        let pixels = |first: u8| idx(&[2, 1, 2], &[first, 0, 0, 0]);
        let labels = |last: u8| idx(&[2], &[0, last]);
        let spellings = [
            ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"],
            ["train-images.idx3-ubyte", "train-labels.idx1-ubyte", "test-images.idx3-ubyte", "test-labels.idx1-ubyte"],
        ];
        for (index, names) in spellings.iter().enumerate() {
            for zipped in [false, true] {
                let file = |bytes: Vec<u8>| if zipped { gzip(&bytes) } else { bytes };
                let names = names.map(|name| if zipped { format!("{name}.gz") } else { name.to_string() });
                let contents = [file(pixels(5)), file(labels(3)), file(pixels(6)), file(labels(4))];
                let files: Vec<(&str, Vec<u8>)> = names.iter().map(String::as_str).zip(contents).collect();
                let folder = folder(&format!("spelling-{index}-{zipped}"), &files);
                let digits = Digits::read(&folder).unwrap();
                assert_eq!((digits.train().pixels[0], digits.train().labels()[1]), (5, 3));
                assert_eq!((digits.test().pixels[0], digits.test().labels()[1]), (6, 4));
                std::fs::remove_dir_all(folder).unwrap();
            }
        }
    }

    #[test]
    fn content_decides_what_is_gzipped() {
        let plain = idx(&[1, 1, 1], &[9]);
        assert_eq!(images(&plain).unwrap().1, [9]);
        assert_eq!(images(&gzip(&plain)).unwrap().1, [9]);
    }

    #[test]
    fn missing_files_and_folders() {
        let error = Digits::read(Path::new("no/such/folder")).unwrap_err();
        assert!(matches!(error, DataError::NotAFolder { .. }), "{error}");
        let train = [("train-images-idx3-ubyte", idx(&[1, 1, 1], &[9])), ("train-labels-idx1-ubyte", idx(&[1], &[9]))];
        let with_train = folder("missing", &train);
        let error = Digits::read(&with_train).unwrap_err();
        let DataError::Missing { tried, .. } = &error else { panic!("{error}") };
        assert_eq!(
            tried.as_slice(),
            ["t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte", "test-images-idx3-ubyte", "test-images.idx3-ubyte"]
        );
        // Labels must come under the stem of the images, or the halves of two sets would be paired.
        std::fs::write(with_train.join("t10k-images-idx3-ubyte"), idx(&[1, 1, 1], &[9])).unwrap();
        std::fs::write(with_train.join("test-labels-idx1-ubyte"), idx(&[1], &[9])).unwrap();
        let error = Digits::read(&with_train).unwrap_err();
        let DataError::Missing { tried, .. } = &error else { panic!("{error}") };
        assert_eq!(tried[0], "t10k-labels-idx1-ubyte");
        std::fs::remove_dir_all(with_train).unwrap();
    }

    #[test]
    fn what_the_system_refuses_is_named() {
        let files = folder("io", &[]);
        std::fs::create_dir_all(files.join("train-images-idx3-ubyte")).unwrap();
        for name in ["train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"] {
            std::fs::write(files.join(name), idx(&[1], &[1])).unwrap();
        }
        let error = Digits::read(&files).unwrap_err();
        assert!(matches!(&error, DataError::Io { path, .. } if path.ends_with("train-images-idx3-ubyte")), "{error}");
        std::fs::remove_dir_all(files).unwrap();

        // A file that is there but cannot be opened is not missing.
        #[cfg(unix)]
        {
            let files = folder("loop", &[]);
            let looped = files.join("train-images-idx3-ubyte");
            std::os::unix::fs::symlink(&looped, &looped).unwrap();
            let error = Digits::read(&files).unwrap_err();
            assert!(matches!(&error, DataError::Io { path, .. } if *path == looped), "{error}");
            std::fs::remove_dir_all(files).unwrap();
        }

        let mut damaged = gzip(&idx(&[1, 16, 16], &[7; 256]));
        let middle = damaged.len() / 2;
        damaged[middle..].fill(0xff);
        let error = images(&damaged).unwrap_err();
        assert!(matches!(error, DataError::Io { .. }), "{error}");
    }

    #[test]
    fn wrong_magic() {
        for (bytes, found) in [
            (idx(&[1], &[9]), [0, 0, 8, 1]),
            (b"<!DOCTYPE html>".to_vec(), *b"<!DO"),
            (vec![0, 0, 13, 3], [0, 0, 13, 3]),
        ] {
            let error = images(&bytes).unwrap_err();
            assert!(
                matches!(error, DataError::Magic { found: it, expected: [0, 0, 8, 3], .. } if it == found),
                "{error}"
            );
        }
    }

    #[test]
    fn truncated_anywhere() {
        let whole = idx(&[2, 2, 2], &[1, 2, 3, 4, 5, 6, 7, 8]);
        for len in 0..whole.len() {
            let error = images(&whole[..len]).unwrap_err();
            let DataError::Truncated { expected, found, .. } = error else { panic!("{len}: {error}") };
            assert_eq!((expected, found), (if len < 16 { 16 } else { 24 }, len as u64));
            // The same file, cut first and then zipped, and zipped first and then cut.
            assert!(matches!(images(&gzip(&whole[..len])), Err(DataError::Truncated { .. })));
        }
        let zipped = gzip(&whole);
        for len in 0..zipped.len() {
            let error = images(&zipped[..len]).unwrap_err();
            // Near its end the stream holds every byte and lacks its checksum.
            let cut = matches!(error, DataError::Io { .. }) && len > zipped.len() - 16;
            assert!(cut || matches!(error, DataError::Truncated { .. }), "{len}: {error}");
        }
    }

    #[test]
    fn too_long() {
        let error = images(&idx(&[1, 1, 2], &[1, 2, 3])).unwrap_err();
        assert!(matches!(error, DataError::TooLong { expected: 18, .. }), "{error}");
    }

    #[test]
    fn headers_are_not_trusted() {
        let most = u32::MAX;
        for sizes in [[most, most, most], [1, 257, 256], [1 << 15, 256, 256], [1, most, 1], [most, 1, 1]] {
            let error = images(&idx(&sizes, &[])).unwrap_err();
            assert!(matches!(&error, DataError::TooLarge { sizes: it, .. } if *it == sizes), "{error}");
        }
        for sizes in [[0, 28, 28], [1, 0, 28], [1, 28, 0]] {
            assert!(matches!(images(&idx(&sizes, &[])), Err(DataError::Empty { .. })));
        }
        // The largest file that is accepted is announced, but only what is there is allocated.
        assert!(matches!(images(&idx(&[1 << 14, 256, 256], &[])), Err(DataError::Truncated { .. })));
    }

    #[test]
    fn halves_must_agree() {
        let error = read_split(&idx(&[2, 1, 1], &[1, 2]), &idx(&[3], &[1, 2, 3])).unwrap_err();
        assert!(matches!(error, DataError::Counts { image_count: 2, label_count: 3, .. }), "{error}");
        let error = read_split(&idx(&[2, 1, 1], &[1, 2]), &idx(&[2], &[9, 10])).unwrap_err();
        assert!(matches!(error, DataError::Label { index: 1, label: 10, .. }), "{error}");
        let wide = read_split(&idx(&[1, 1, 2], &[1, 2]), &idx(&[1], &[0])).unwrap();
        let high = read_split(&idx(&[1, 2, 1], &[1, 2]), &idx(&[1], &[0])).unwrap();
        let error = digits(wide, high).unwrap_err();
        assert!(matches!(error, DataError::Sizes { train: (1, 2), test: (2, 1) }), "{error}");
    }
}
