//! What a builder finds, and how its end is told.

use kiln_derivations::sandbox::{BadRequest, CancelToken, Exit, Identity, SandboxError};

use crate::support::{Kiln, is_root};

#[test]
fn a_script_runs_and_its_output_is_there() {
    let kiln = Kiln::script("echo hello; echo made > /out/file; echo built > object")
        .with_input("/src", "main.c", "int x;")
        .with_input("/in/other", "data", "42");
    assert_eq!(kiln.succeed(), "hello\n");
    let made = std::fs::read_to_string(kiln.request.out_dir.join("file")).unwrap();
    let built = std::fs::read_to_string(kiln.request.build_dir.join("object")).unwrap();
    assert_eq!((made.as_str(), built.as_str()), ("made\n", "built\n"));
}

#[test]
fn inputs_are_read_only_and_where_they_belong() {
    let kiln = Kiln::script("cat /src/main.c /in/other/data; ls /in; touch /src/x /in/x /bin/x")
        .with_input("/src", "main.c", "int x;\n")
        .with_input("/in/other", "data", "42\n");
    let run = kiln.run();
    assert!(run.log.starts_with("int x;\n42\nother\n"), "{}", run.log);
    assert_eq!(
        run.log.matches("Read-only file system").count(),
        3,
        "{}",
        run.log
    );
}

#[test]
fn exits_are_told_apart() {
    let exit = |script: &str| Kiln::script(script).run().outcome.exit;
    assert_eq!(exit("exit 0"), Exit::Success);
    assert_eq!(exit("exit 3"), Exit::Code(3));
    assert_eq!(exit("kill -TERM $$"), Exit::Signal(15));
    assert_eq!(exit("kill -KILL $$"), Exit::Signal(9));
}

#[test]
fn a_program_that_is_not_there_is_a_failed_setup() {
    match Kiln::new(&["/bin/nothing"]).run().outcome.exit {
        Exit::Setup(text) => assert!(text.contains("/bin/nothing"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_root_without_the_skeleton_is_a_failed_setup() {
    let kiln = Kiln::script("true");
    std::fs::remove_dir(kiln.request.root.join("out")).unwrap();
    assert!(matches!(kiln.run().outcome.exit, Exit::Setup(text) if text.contains("out")));
}

#[test]
fn both_identities() {
    let mut kiln = Kiln::script("id -u; id -g; id -G; stat -c %u:%g /bin /build /out /tmp");
    assert_eq!(
        kiln.succeed(),
        "1000\n1000\n1000\n1000:1000\n1000:1000\n1000:1000\n1000:1000\n"
    );
    kiln.request.identity = Identity::Root;
    assert_eq!(kiln.succeed(), "0\n0\n0\n0:0\n0:0\n0:0\n0:0\n");
}

#[test]
fn usage_is_measured() {
    let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo end";
    let run = Kiln::script(script).run();
    assert_eq!(run.log, "end\n", "{:?}", run.outcome);
    assert_eq!(run.outcome.log_bytes, 4);
    assert!(run.outcome.cpu.as_millis() >= 50, "{:?}", run.outcome);
    assert!(run.outcome.wall >= run.outcome.cpu / 2, "{:?}", run.outcome);
    assert!(run.outcome.peak_rss_bytes > 500_000, "{:?}", run.outcome);
}

#[test]
fn root_needs_another_uid_and_an_ordinary_user_cannot_have_one() {
    let mut kiln = Kiln::script("true");
    let other = kiln_derivations::sandbox::HostUser { uid: 5, gid: 5 };
    kiln.request.host_user = if is_root() { None } else { Some(other) };
    let refused = kiln.try_run(&CancelToken::new().unwrap());
    match refused.map(|run| run.outcome) {
        Err(SandboxError::Request(BadRequest::RootWithoutUser)) => assert!(is_root()),
        Err(SandboxError::Request(BadRequest::UserWithoutRoot)) => assert!(!is_root()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn bad_requests_are_refused() {
    let refused = |change: &dyn Fn(&mut Kiln)| {
        let mut kiln = Kiln::script("true");
        change(&mut kiln);
        match kiln
            .try_run(&CancelToken::new().unwrap())
            .map(|run| run.outcome)
        {
            Err(SandboxError::Request(error)) => error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    refused(&|kiln| kiln.request.argv = vec!["sh".into()]);
    refused(&|kiln| kiln.request.argv.clear());
    refused(&|kiln| kiln.request.build_dir = "build".into());
    refused(&|kiln| kiln.request.limits.processes = 0);
    refused(&|kiln| drop(kiln.request.env.insert("A=B".into(), String::new())));
    refused(&|kiln| drop(kiln.request.env.insert("PWD".into(), "/tmp".into())));
    refused(&|kiln| {
        let mount = kiln_derivations::sandbox::Mount {
            source: "/".into(),
            at: kiln_derivations::sandbox::MountPoint::Src,
        };
        kiln.request.mounts = vec![mount.clone(), mount];
    });
}
