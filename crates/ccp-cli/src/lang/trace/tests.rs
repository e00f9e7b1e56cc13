use ccp_program::RegisterTable;

use super::{MAX_LINE, Trace};

/// Time and bytes acknowledged of each row, or what is wrong.
fn read(text: &[u8]) -> Result<Vec<(u64, u64)>, String> {
    let table = RegisterTable::libccp();
    let mut values = vec![0; table.primitives().len()];
    let mut rows = Vec::new();
    let mut trace = Trace::new("t.csv".into(), text, &table).map_err(|e| e.to_string())?;
    while let Some(now) = trace.next(&mut values).map_err(|e| e.to_string())? {
        rows.push((now, values[0]));
    }
    Ok(rows)
}

#[test]
fn rows_are_read() {
    let rows = Ok(vec![(1, 10), (1, u64::MAX)]);
    assert_eq!(read(b"Ack.now,Ack.bytes_acked\n1,10\n1,+infinity"), rows);
    assert_eq!(
        read(b"\xef\xbb\xbf\"Ack.bytes_acked\" , x , Ack.now\r\n\r\n 10,a b,1\r\n\"+infinity\",,1\r\n"),
        rows
    );
    assert_eq!(read(b"Ack.now\n"), Ok(vec![]));
}

#[test]
fn what_is_wrong_has_its_place() {
    for (text, wrong) in [
        (
            &b""[..],
            "t.csv: is empty: its first line has to name the columns",
        ),
        (
            b"Flow.mss\n",
            "t.csv:1:1: there is no column `Ack.now`, the time of each acknowledgement in microseconds",
        ),
        (
            b"Ack.now,x,x, Ack.now\n",
            "t.csv:1:14: there is a column `Ack.now` already",
        ),
        (
            b"Ack.now\n1\n-2\n",
            "t.csv:3:1: `Ack.now` = `-2`: must be a whole number from 0 to 18446744073709551615, or +infinity",
        ),
        (
            b"Ack.now,Flow.was_timeout\n1, yes\n",
            "t.csv:2:4: `Flow.was_timeout` = `yes`: must be true or false",
        ),
        (
            b"Ack.now,Ack.bytes_acked\n1,18446744073709551616\n",
            "t.csv:2:3: `Ack.bytes_acked` = `18446744073709551616`: must be a whole number from 0 to 18446744073709551615",
        ),
        (
            b"Ack.now,Ack.bytes_acked\n1\n",
            "t.csv:2:2: the row ends without `Ack.bytes_acked`",
        ),
        (
            b"Ack.now\n1,2\n",
            "t.csv:2:3: there are more cells than the 1 columns",
        ),
        (
            b"Ack.now\n2\n1\n",
            "t.csv:3:1: `Ack.now` = 1: time goes back, it was 2 already",
        ),
        (b"Ack.now\n\xc3\xa4\xff\n", "t.csv:2:2: this is not UTF-8"),
        (
            b"Ack.now,Ack.bytes_acked\n1,\n",
            "t.csv:2:3: `Ack.bytes_acked` = ``: must be a whole number from 0 to 18446744073709551615",
        ),
    ] {
        assert_eq!(read(text), Err(wrong.to_owned()));
    }
}

#[test]
fn a_line_without_end_is_not_held_in_memory() {
    let mut text = b"Ack.now\n".to_vec();
    text.resize(MAX_LINE * 3, b'1');
    assert_eq!(
        read(&text),
        Err(format!(
            "t.csv:2:1: the line is longer than {MAX_LINE} bytes"
        ))
    );
}
