//! What Slurm's programs answer, read line by line.
//!
//! Wrappers of many centres print banners, notes and headers around an answer, before it or behind it: a line counts only if it is
//! what was asked for, as a whole.

use std::collections::{BTreeMap, BTreeSet};

/// How a task of an array stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task {
    pub state: String,
    pub code: i32,
    pub signal: i32,
}

/// The number of a job, and its cluster where there are several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Number {
    pub id: String,
    pub cluster: Option<String>,
}

/// The answer of `sbatch --parsable`: the last line that is `N` or `N;cluster`; none if there is no such line.
pub(super) fn number(text: &str) -> Option<Number> {
    text.lines().rev().find_map(|line| {
        let (id, cluster) = match line.trim().split_once(';') {
            Some((id, cluster)) => (id, Some(cluster)),
            None => (line.trim(), None),
        };
        let is_cluster = |name: &str| !name.is_empty() && !name.contains([' ', ';']);
        let fits = is_number(id) && id != "0" && cluster.is_none_or(is_cluster);
        fits.then(|| Number { id: id.to_owned(), cluster: cluster.map(str::to_owned) })
    })
}

/// The tasks that wait or work, from `squeue --format="%K %T"`: a task's number and its state.
pub(super) fn alive(text: &str) -> BTreeSet<String> {
    let task = |line: &str| {
        let (number, state) = line.trim().split_once(' ')?;
        let is_state = !state.is_empty() && state.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        (is_number(number) && is_state).then(|| number.to_owned())
    };
    text.lines().filter_map(task).collect()
}

/// The tasks of a job that `sacct --parsable2 --format=JobID,State,ExitCode` names, by number.
pub(super) fn kept(text: &str, job: &str) -> BTreeMap<String, Task> {
    text.lines().filter_map(|line| kept_task(line, job)).collect()
}

/// The tasks of a job that `scontrol show job --oneliner` names, by number.
pub(super) fn shown(text: &str, job: &str) -> BTreeMap<String, Task> {
    text.lines().filter_map(|line| shown_task(line, job)).collect()
}

/// A line of `sacct`: `17_3|FAILED|0:9`; behind `CANCELLED` stands by whom.
fn kept_task(line: &str, job: &str) -> Option<(String, Task)> {
    let fields: Vec<&str> = line.trim().split('|').collect();
    let [id, state, exit] = fields[..] else { return None };
    let number = id.strip_prefix(job)?.strip_prefix('_')?;
    let state = state.split(' ').next()?.to_owned();
    let (code, signal) = exit_of(exit)?;
    Some((number.to_owned(), Task { state, code, signal }))
}

/// A line of `scontrol`: `JobId=19 ArrayJobId=17 ArrayTaskId=3 ... JobState=FAILED ... ExitCode=0:9 ...`.
fn shown_task(line: &str, job: &str) -> Option<(String, Task)> {
    let field = |name: &str| line.split_whitespace().find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    let (code, signal) = exit_of(field("ExitCode")?)?;
    let number = field("ArrayTaskId").filter(|_| field("ArrayJobId") == Some(job))?;
    Some((number.to_owned(), Task { state: field("JobState")?.to_owned(), code, signal }))
}

fn exit_of(text: &str) -> Option<(i32, i32)> {
    let (code, signal) = text.split_once(':')?;
    Some((code.parse().ok()?, signal.parse().ok()?))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit())
}

/// Whether a task in this state waits or works.
pub(super) fn is_alive(state: &str) -> bool {
    let alive = [
        "PENDING",
        "RUNNING",
        "COMPLETING",
        "CONFIGURING",
        "SUSPENDED",
        "STOPPED",
        "REQUEUED",
        "REQUEUE_HOLD",
        "RESIZING",
        "SIGNALING",
        "STAGE_OUT",
    ];
    alive.contains(&state)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What wrappers around Slurm's programs print, as centres' mailing lists and issues show it.
    const BANNER: &str = "-----\n   Welcome to the Example Supercomputer, 4608 nodes\n-----\n\n--> Verifying valid submit host (login1)...OK\n";

    #[test]
    fn the_number_of_a_job_is_found_among_whatever_else_is_said() {
        let with_banner = format!("{BANNER}4711\n");
        for (answer, expected) in [
            ("4711", Some(("4711", None))),
            ("4711;two\n", Some(("4711", Some("two")))),
            (&with_banner, Some(("4711", None))),
            ("4711\n\nYour project has used 12 % of 100000 hours.\n", Some(("4711", None))),
            ("2 jobs are waiting\n12\r\n4711\r\n", Some(("4711", None))),
            ("  4711;a-b_c.d  ", Some(("4711", Some("a-b_c.d")))),
            ("Submitted batch job 4711", None),
            ("4711;", None),
            ("4711;two clusters", None),
            ("0", None),
            ("-1", None),
            ("4711.batch", None),
            (BANNER, None),
            ("", None),
        ] {
            let expected =
                expected.map(|(id, cluster)| Number { id: id.to_owned(), cluster: cluster.map(str::to_owned) });
            assert_eq!(number(answer), expected, "{answer}");
        }
    }

    #[test]
    fn a_task_is_alive_only_where_a_line_says_so() {
        for (text, expected) in [
            ("1 RUNNING\n2 PENDING\n12 REQUEUE_HOLD", vec!["1", "12", "2"]),
            ("CLUSTER: two\n3 RUNNING\n", vec!["3"]),
            ("ARRAY_TASK_ID STATE\n3 RUNNING", vec!["3"]),
            ("2 nodes are down for maintenance\n", vec![]),
            (BANNER, vec![]),
            ("N/A RUNNING", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(alive(text), expected.into_iter().map(str::to_owned).collect(), "{text}");
        }
    }

    /// Lines of Slurm 22.05 and 23.11.
    #[test]
    fn how_tasks_ended_is_read() {
        let task = |state: &str, code, signal| Task { state: state.to_owned(), code, signal };
        for (line, expected) in [
            ("17_3|FAILED|0:9", Some(("3", task("FAILED", 0, 9)))),
            ("17_1|CANCELLED by 0|0:15", Some(("1", task("CANCELLED", 0, 15)))),
            ("17_2|COMPLETED|0:0", Some(("2", task("COMPLETED", 0, 0)))),
            // The part of an array that waits is one line.
            ("17_[4-9]|PENDING|0:0", Some(("[4-9]", task("PENDING", 0, 0)))),
            ("17|COMPLETED|0:0", None),
            ("170_3|FAILED|0:9", None),
            ("JobID|State|ExitCode", None),
            ("| quota | 17_3 | 12 % |", None),
            ("", None),
        ] {
            assert_eq!(kept_task(line, "17"), expected.map(|(number, task)| (number.to_owned(), task)), "{line}");
        }
        let line = "JobId=19 ArrayJobId=17 ArrayTaskId=3 JobName=a b UserId=root(0) JobState=TIMEOUT Reason=TimeLimit ExitCode=0:1 X=";
        assert_eq!(shown_task(line, "17"), Some(("3".to_owned(), task("TIMEOUT", 0, 1))));
        assert_eq!(shown_task(line, "1"), None);
        assert_eq!(shown_task("JobId=20 JobState=RUNNING ExitCode=0:0", "20"), None);
    }
}
