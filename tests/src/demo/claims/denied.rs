//! A refusal is quick, and says whose it is.

use crate::demo::{
    Error,
    call::Failure,
    evidence::Evidence,
    stage::{CLERK, FAMILIES, PodName, Stage, TELLER},
};

/// Longest time to a refusal. The kernel takes tens of microseconds; the rest is room for a busy machine.
const MILLISECONDS: f64 = 10.0;

/// How often a call is made: one of them is not interrupted by something else on the machine.
const CALLS: usize = 3;

/// A call that is denied, and how it shows.
struct Denied {
    by: &'static str,
    from: PodName,
    to: &'static str,
    errno: &'static str,
    policy: &'static str,
    rule: &'static str,
}

const DENIED: [Denied; 2] = [
    Denied {
        by: "egress policy of the caller",
        from: TELLER,
        to: "catalog.shop:9200",
        errno: "EPERM",
        policy: "AccessPolicy/bank/teller",
        rule: "no-shop",
    },
    Denied {
        by: "ingress policy of the called (a RST)",
        from: CLERK,
        to: "vault.bank:9100",
        errno: "ECONNREFUSED",
        policy: "AccessPolicy/bank/vault",
        rule: "no-shop",
    },
];

pub(super) fn show(stage: &Stage, evidence: &mut Evidence) -> Result<(), Error> {
    for Denied { by, from, to, errno, policy, rule } in DENIED {
        for (option, family) in FAMILIES {
            evidence.did(format_args!("{by}, {family}: {from} calls {to}, {CALLS} times; the quickest:"));
            let mark = stage.log_mark()?;
            let failure = quickest(stage, from, to, option, errno)?;
            evidence.check(failure.errno == errno && failure.milliseconds < MILLISECONDS, &failure);
            let line = mark.wait(&format!("{policy} {rule}"), |line| {
                line.field("/verdict") == "denied"
                    && line.field("/policy") == policy
                    && line.field("/rule") == rule
                    && line.field("/source/pod") == from.1
            })?;
            evidence.check(true, format_args!("log: {}", line.text));
        }
    }
    Ok(())
}

/// The quickest of a few refusals, or the first that is another one than `errno`.
fn quickest(stage: &Stage, from: PodName, to: &str, option: &str, errno: &str) -> Result<Failure, Error> {
    let mut quickest = stage.call(from, to, option)?.failed()?;
    for _ in 1..CALLS {
        if quickest.errno != errno {
            break;
        }
        let failure = stage.call(from, to, option)?.failed()?;
        if failure.errno != errno || failure.milliseconds < quickest.milliseconds {
            quickest = failure;
        }
    }
    Ok(quickest)
}
