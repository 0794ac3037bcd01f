//! `kiln boot`.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use kiln_derivations::boot::{self, Accel, End, Ended, LEAVE, Up};
use kiln_derivations::manifest::Wanted;
use kiln_derivations::manifest::evaluate::ImageInfo;
use serde::Serialize;

use crate::args::{self, BootArgs};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::guest::{self, Hardware};
use crate::output;
use crate::results;
use crate::workshop::{Workshop, root_ids};

/// What a guest of ours shows when it takes input.
const UP: &str = "kiln: up";
/// How long to wait for it: an emulated guest on a busy machine is slow.
const UP_LIMIT: Duration = Duration::from_secs(300);

/// Builds the image and boots it.
pub fn run(context: &Context, args: &BootArgs) -> Result<(), CliError> {
    let manifest = context.manifest()?;
    let wanted: Wanted = match args.image.parse() {
        Ok(wanted) => wanted,
        Err(never) => match never {},
    };
    let format = args.format.clone().or(wanted.part);
    let names = [wanted.name.clone()];
    let evaluation = context.evaluate_names(&manifest, &names, &args.realise)?;
    for root in &evaluation.roots {
        guest::is_image(root.kind, &wanted.name)?;
    }
    let image = one_image(&evaluation.images, args)?;
    let format = guest::pick_format(image, format.as_deref())?;
    let workshop = Workshop::open(context, &args.realise)?;
    let report = workshop.realise(&manifest, &evaluation.graph, &root_ids(&evaluation))?;
    results::keep(workshop.store(), &manifest, &evaluation, &report)?;
    let checkout = workshop.checkout(&report)?;
    let hardware = Hardware {
        memory_mib: args.memory,
        cpus: args.cpus,
        accel: accel(args.accel),
    };
    let append = args.append.as_deref().unwrap_or_default();
    let machine = guest::machine(
        &workshop,
        &manifest,
        (image, &checkout),
        format,
        &hardware,
        append,
    )?;
    let ended = boot(context, &machine, args.time_limit)?;
    finish(context, image, &ended)
}

fn one_image<'e>(images: &'e [ImageInfo], args: &BootArgs) -> Result<&'e ImageInfo, CliError> {
    match images {
        [image] => Ok(image),
        _ => Err(CliError::usage(format!(
            "`{}` is {} images here; one machine boots one",
            args.image,
            images.len()
        ))
        .with_hint("give one --target")),
    }
}

fn accel(accel: args::Accel) -> Accel {
    match accel {
        args::Accel::Auto => Accel::Auto,
        args::Accel::Kvm => Accel::Kvm,
        args::Accel::Tcg => Accel::Tcg,
    }
}

fn boot(
    context: &Context,
    machine: &boot::Machine,
    limit_s: Option<u64>,
) -> Result<Ended, CliError> {
    let failed = |error: boot::BootError| CliError::machine(crate::error::chain(&error));
    let flag = context.cancel.flag();
    let cancel = || flag.load(Ordering::SeqCst);
    let choice = boot::choose(machine, &cancel).map_err(failed)?;
    if !context.global.quiet {
        eprintln!(
            "boot    {} ({}: {})",
            machine.target, choice.engine, choice.why
        );
    }
    let late = limit_s.map(|limit_s| alarm(Duration::from_secs(limit_s), &flag));
    let stdin = io::stdin();
    // Stdout is the document's where one was asked for.
    let mut screen: Box<dyn Write> = match context.global.json {
        true => Box::new(io::stderr()),
        false => Box::new(io::stdout()),
    };
    let ended = if stdin.is_terminal() {
        eprintln!("the console is yours; {LEAVE} leaves it");
        boot::interact(machine, choice.engine, stdin.as_fd(), &mut screen, &cancel)
    } else {
        let up = Up {
            marker: UP.to_owned(),
            limit: UP_LIMIT,
        };
        boot::feed(
            machine,
            choice.engine,
            stdin.as_fd(),
            &up,
            &mut screen,
            &cancel,
        )
    };
    let ended = ended.map_err(failed)?;
    Ok(match late {
        Some(late) if late.load(Ordering::SeqCst) => Ended {
            end: End::TimedOut(Duration::from_secs(limit_s.unwrap_or_default())),
            ..ended
        },
        _ => ended,
    })
}

/// Ends the guest when its time is over; says so in the returned flag.
fn alarm(limit: Duration, cancel: &Arc<AtomicBool>) -> Arc<AtomicBool> {
    let late = Arc::new(AtomicBool::new(false));
    let (cancel, flag) = (Arc::clone(cancel), Arc::clone(&late));
    thread::spawn(move || {
        thread::sleep(limit);
        flag.store(true, Ordering::SeqCst);
        cancel.store(true, Ordering::SeqCst);
    });
    late
}

#[derive(Serialize)]
struct Json<'a> {
    image: &'a str,
    target: &'static str,
    ended: String,
    elapsed_s: f64,
}

fn finish(context: &Context, image: &ImageInfo, ended: &Ended) -> Result<(), CliError> {
    if context.global.json {
        output::json(Json {
            image: &image.name,
            target: image.target.name(),
            ended: ended.end.to_string(),
            elapsed_s: ended.elapsed.as_secs_f64(),
        })?;
    }
    let failed = |status| Err(CliError::plain(status, ended.end.to_string()));
    match &ended.end {
        End::PoweredOff | End::Left => Ok(()),
        End::Cancelled => failed(ExitStatus::Interrupted),
        End::EmulatorFailed { .. } => failed(ExitStatus::Infrastructure),
        End::Panicked(_) | End::NotUp { .. } | End::TimedOut(_) => failed(ExitStatus::BuildFailed),
    }
}
