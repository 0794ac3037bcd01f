use super::bpf::{LOAD, RETURN};
use super::*;

const ALLOW: i32 = -1;

/// What the kernel would do: the errno, or [`ALLOW`].
fn judge(architecture: Architecture, audit: u32, number: u32, arguments: &[u64]) -> i32 {
    let mut data = vec![number, audit, 0, 0];
    for index in 0..6 {
        let argument = arguments.get(index).copied().unwrap_or(0);
        data.extend([argument as u32, (argument >> 32) as u32]);
    }
    let program = filter(architecture);
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let step = program[at];
        at += 1;
        let holds = match step.code {
            LOAD => {
                accumulator = data[step.operand as usize / 4];
                continue;
            }
            RETURN if step.operand == 0x7fff_0000 => return ALLOW,
            RETURN => return (step.operand & 0xffff) as i32,
            EQUAL => accumulator == step.operand,
            GREATER => accumulator > step.operand,
            GREATER_EQUAL => accumulator >= step.operand,
            ANY_BIT => accumulator & step.operand != 0,
            other => panic!("instruction {other:#x}"),
        };
        at += usize::from(if holds {
            step.jump_true
        } else {
            step.jump_false
        });
    }
}

fn native(architecture: Architecture, number: u32, arguments: &[u64]) -> i32 {
    judge(
        architecture,
        architecture.numbers().audit,
        number,
        arguments,
    )
}

const BOTH: [Architecture; 2] = [Architecture::X86_64, Architecture::Aarch64];

#[test]
fn every_refusal_of_the_table_is_in_the_filter_and_nothing_else() {
    for architecture in BOTH {
        let numbers = architecture.numbers();
        let judged = [numbers.socket, numbers.socketpair];
        for number in (0..=table::LAST_KNOWN).filter(|number| !judged.contains(number)) {
            let refusal = table::REFUSALS
                .iter()
                .find(|r| architecture.number(r) == Some(number));
            let expected = refusal.map_or(ALLOW, |refusal| refusal.errno);
            assert_eq!(
                native(architecture, number, &[]),
                expected,
                "{architecture:?} {number}"
            );
        }
    }
}

#[test]
fn each_call_stands_once() {
    for architecture in BOTH {
        let mut numbers: Vec<_> = table::REFUSALS
            .iter()
            .filter_map(|r| architecture.number(r))
            .collect();
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count);
    }
}

#[test]
fn foreign_architectures_and_unknown_calls_do_not_exist() {
    let i386 = 0x4000_0003;
    let arm = 0x4000_0028;
    for architecture in BOTH {
        for foreign in [i386, arm, 0] {
            assert_eq!(judge(architecture, foreign, 1, &[]), libc::ENOSYS);
        }
        let x32 = 0x4000_0000;
        for number in [451, 1000, x32, x32 + 41, u32::MAX] {
            assert_eq!(native(architecture, number, &[]), libc::ENOSYS);
        }
    }
    let swapped = Architecture::Aarch64.numbers().audit;
    assert_eq!(judge(Architecture::X86_64, swapped, 1, &[]), libc::ENOSYS);
}

#[test]
fn threads_and_forks_pass_but_no_namespace() {
    let thread = 0x003d_0f00;
    let fork = 0x0120_0011;
    for architecture in BOTH {
        let numbers = architecture.numbers();
        assert_eq!(native(architecture, numbers.clone, &[thread]), ALLOW);
        assert_eq!(native(architecture, numbers.clone, &[fork]), ALLOW);
        assert_eq!(
            native(architecture, numbers.unshare, &[0x600]),
            ALLOW,
            "files and fs"
        );
        for shift in [17, 25, 26, 27, 28, 29, 30] {
            let flag = 1_u64 << shift;
            assert_eq!(
                native(architecture, numbers.clone, &[flag | fork]),
                libc::EPERM
            );
            assert_eq!(native(architecture, numbers.unshare, &[flag]), libc::EPERM);
        }
        assert_eq!(
            native(architecture, numbers.unshare, &[0x80]),
            libc::EPERM,
            "time"
        );
    }
}

#[test]
fn terminal_requests_are_refused_whatever_the_upper_half() {
    for architecture in BOTH {
        let ioctl = architecture.numbers().ioctl;
        for upper in [0, 1_u64 << 32, u64::MAX << 32] {
            assert_eq!(
                native(architecture, ioctl, &[0, upper | 0x5412]),
                libc::EPERM
            );
        }
        assert_eq!(native(architecture, ioctl, &[0, 0x5401]), ALLOW, "TCGETS");
        assert_eq!(
            native(architecture, ioctl, &[0x5412, 0x5401]),
            ALLOW,
            "a descriptor"
        );
    }
}

#[test]
fn only_local_sockets_exist() {
    for architecture in BOTH {
        let numbers = architecture.numbers();
        let allowed = [
            (1, 0),
            (2, 0),
            (2, 6),
            (2, 17),
            (2, 1),
            (10, 0),
            (10, 58),
            (16, 0),
        ];
        for (domain, protocol) in allowed {
            assert_eq!(
                native(architecture, numbers.socket, &[domain, 1, protocol]),
                ALLOW
            );
        }
        for (domain, protocol) in [(2, 132), (2, 262), (2, 33), (10, 1), (16, 9), (16, 16)] {
            let got = native(architecture, numbers.socket, &[domain, 1, protocol]);
            assert_eq!(got, libc::EPROTONOSUPPORT, "{domain} {protocol}");
        }
        for call in [numbers.socket, numbers.socketpair] {
            for domain in (0..64).filter(|domain| ![1, 2, 10, 16].contains(domain)) {
                assert_eq!(
                    native(architecture, call, &[domain, 1, 0]),
                    libc::EAFNOSUPPORT
                );
            }
        }
    }
}
