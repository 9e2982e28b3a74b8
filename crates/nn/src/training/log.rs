//! Numbers of training as a table in a file.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A file of comma-separated values: a line of names, then a line for each row, written at once, so
/// that it can be watched while training goes on.
#[derive(Debug)]
pub struct CsvLog {
    file: File,
    path: PathBuf,
    columns: usize,
}

impl CsvLog {
    /// A new file, in the place of an old one.
    ///
    /// # Errors
    /// If it cannot be written.
    ///
    /// # Panics
    /// If a name contains a comma, a quote or a line break.
    #[track_caller]
    pub fn create(path: impl AsRef<Path>, columns: &[&str]) -> Result<CsvLog> {
        let path = path.as_ref().to_owned();
        let header = header(columns);
        let file = File::create(&path).and_then(|mut file| {
            file.write_all(header.as_bytes())?;
            Ok(file)
        });
        let file = file.map_err(|e| Error::io(&path, "cannot write", e))?;
        Ok(CsvLog { file, path, columns: columns.len() })
    }

    /// Goes on with a file that [`create`](CsvLog::create) began, from after its first `rows` rows:
    /// those that a resumed run writes again are removed, and so is a line that an interruption
    /// left unfinished. A new file if there is none.
    ///
    /// # Errors
    /// If it cannot be read or written, has other columns, or fewer rows.
    ///
    /// # Panics
    /// If a name contains a comma, a quote or a line break.
    #[track_caller]
    pub fn resume(path: impl AsRef<Path>, columns: &[&str], rows: usize) -> Result<CsvLog> {
        let path = path.as_ref().to_owned();
        let header = header(columns);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && rows == 0 => {
                return CsvLog::create(path, columns);
            }
            Err(e) => return Err(Error::io(&path, "cannot read", e)),
        };
        if !text.starts_with(&header) {
            return Err(Error::file(&path, format!("does not begin with {:?}", header.trim_end())));
        }
        let whole: Vec<&str> =
            text.split_inclusive('\n').filter(|line| line.ends_with('\n')).take(1 + rows).collect();
        if whole.len() < 1 + rows {
            let found = whole.len() - 1;
            return Err(Error::file(&path, format!("has {found} rows, not {rows}")));
        }
        let len: usize = whole.iter().map(|line| line.len()).sum();
        let file = OpenOptions::new().append(true).open(&path).and_then(|file| {
            file.set_len(len as u64)?;
            Ok(file)
        });
        let file = file.map_err(|e| Error::io(&path, "cannot write", e))?;
        Ok(CsvLog { file, path, columns: columns.len() })
    }

    /// Writes a row. Numbers are written so that reading them gives the same bits.
    ///
    /// # Errors
    /// If it cannot be written.
    ///
    /// # Panics
    /// If there is not one number for each column.
    #[track_caller]
    pub fn row(&mut self, numbers: &[f64]) -> Result<()> {
        let (found, columns) = (numbers.len(), self.columns);
        assert!(found == columns, "CsvLog: {found} numbers for {columns} columns");
        let fields: Vec<String> = numbers.iter().map(f64::to_string).collect();
        let line = fields.join(",") + "\n";
        self.file.write_all(line.as_bytes()).map_err(|e| Error::io(&self.path, "cannot write", e))
    }
}

#[track_caller]
fn header(columns: &[&str]) -> String {
    for name in columns {
        assert!(
            !name.contains([',', '"', '\n', '\r']),
            "CsvLog: a column cannot be called {name:?}"
        );
    }
    columns.join(",") + "\n"
}
