//! Makes a program that shows something small.

/// Something shorter than `source` for which `shows` still holds: brackets and words are left out, and
/// lists replaced by what is in them, as long as that can be.
///
/// `shows` must refuse texts that do not compile.
pub fn shrink(source: &str, shows: impl Fn(&str) -> bool) -> String {
    let mut tree = read(source);
    loop {
        let found = candidates(&tree)
            .into_iter()
            .find(|candidate| shows(&write(candidate)));
        match found {
            Some(smaller) => tree = smaller,
            None => return pretty(&tree),
        }
    }
}

/// A word, or a list.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Word(String),
    List(Vec<Self>),
}

fn read(source: &str) -> Vec<Node> {
    let mut open: Vec<Vec<Node>> = vec![Vec::new()];
    for line in source.lines() {
        let line = line.split('#').next().unwrap_or("");
        let spaced = line.replace('(', " ( ").replace(')', " ) ");
        for word in spaced.split_whitespace() {
            let node = match word {
                "(" => {
                    open.push(Vec::new());
                    continue;
                }
                ")" if open.len() > 1 => Node::List(open.pop().unwrap_or_default()),
                word => Node::Word(word.to_owned()),
            };
            if let Some(list) = open.last_mut() {
                list.push(node);
            }
        }
    }
    open.into_iter().next().unwrap_or_default()
}

/// Everything that is one step smaller; the largest steps first.
fn candidates(nodes: &[Node]) -> Vec<Vec<Node>> {
    let mut all = Vec::new();
    let with = |at: usize, new: Option<Node>| {
        let mut nodes = nodes.to_vec();
        nodes.splice(at..=at, new);
        nodes
    };
    for at in 0..nodes.len() {
        all.push(with(at, None));
    }
    for (at, node) in nodes.iter().enumerate() {
        match node {
            Node::Word(word) => {
                for simpler in ["0", "1", "true"] {
                    let is_simple = ["0", "1", "2", "true", "false"].contains(&word.as_str());
                    if at > 0 && !is_simple {
                        all.push(with(at, Some(Node::Word(simpler.to_owned()))));
                    }
                }
            }
            Node::List(inner) => {
                all.extend(inner.iter().map(|one| with(at, Some(one.clone()))));
                let inner = candidates(inner);
                all.extend(inner.into_iter().map(|one| with(at, Some(Node::List(one)))));
            }
        }
    }
    all
}

fn write(nodes: &[Node]) -> String {
    let all: Vec<String> = nodes
        .iter()
        .map(|node| match node {
            Node::Word(word) => word.clone(),
            Node::List(inner) => format!("({})", write(inner)),
        })
        .collect();
    all.join(" ")
}

/// One clause per line.
fn pretty(nodes: &[Node]) -> String {
    let all: Vec<String> = nodes
        .iter()
        .map(|node| write(std::slice::from_ref(node)))
        .collect();
    all.join("\n")
}

#[cfg(test)]
mod tests {
    use super::shrink;

    #[test]
    fn what_does_not_matter_goes() {
        let source = "(def (Report (a 0) (b 7)) (c true)) # a comment
            (when c (:= Report.a (+ 1 (/ Ack.bytes_acked 0))) (report))
            (when true (:= Report.b 5))";
        let shown = shrink(source, |s| s.contains("(/") && s.starts_with("(def"));
        assert_eq!(shown, "(def)\n(/)");
    }
}
