//! The files that algorithms of kind `program` name.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use ccp_core::{Params, SourceText};

use super::Problem;

/// The longest program, as the compiler says too; a larger file is not read further.
const LONGEST: u64 = 1 << 20;

/// Reads the files that `algorithms` name, relative paths from `beside`. Returns what is wrong.
pub(super) fn attach(algorithms: &mut [Params], beside: &Path) -> Vec<Problem> {
    let mut wrong = Vec::new();
    for params in algorithms.iter_mut().filter(|p| p.kind() == "program") {
        // A value that is no text is told of when the algorithm is made.
        let Some(file) = params.text("file") else {
            continue;
        };
        let path = beside.join(file);
        match read(&path) {
            Ok(text) => params.attach("file", SourceText::new(&path.display().to_string(), &text)),
            Err(why) => {
                let reason = format!("can't read {}: {why}", path.display());
                wrong.push(Problem::from(&params.refuse("file", reason)));
            }
        }
    }
    wrong
}

fn read(path: &Path) -> Result<String, String> {
    // A pipe would hold up the start.
    let is_file = path
        .metadata()
        .map_err(|error| error.to_string())?
        .is_file();
    if !is_file {
        return Err("it is no file".to_owned());
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8, as program text has to be".to_owned())
}
