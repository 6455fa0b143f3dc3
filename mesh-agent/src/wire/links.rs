//! Links: every place a program of the mesh is attached, and the proof that it still is.
//!
//! A link is made, pinned, and from then on only updated in place (`BPF_LINK_UPDATE`): attaching a
//! new program beside the old one would run both, and a detached `sock_ops` leaks flow entries.
//! A pin whose target is gone (a deleted interface, a dead namespace) is swept.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::pins;
use super::programs::{Programs, ProgramsError};
use crate::sys::bpf::{self, AttachType, LinkInfo, Target};
use crate::sys::netns::Netns;

/// A program that hooks a cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CgroupHook {
    /// Its name in the object, which is also the name of its link's pin.
    pub(super) program: &'static str,
    /// Where it attaches.
    pub(super) attach_type: AttachType,
}

const fn hook(program: &'static str, attach_type: AttachType) -> CgroupHook {
    CgroupHook { program, attach_type }
}

/// The hooks that are always attached to the cgroup root.
pub(super) const ALWAYS: [CgroupHook; 9] = [
    hook("mesh_sockops", AttachType::CgroupSockOps),
    hook("mesh_connect4", AttachType::Inet4Connect),
    hook("mesh_connect6", AttachType::Inet6Connect),
    hook("mesh_sendmsg4", AttachType::Udp4Sendmsg),
    hook("mesh_sendmsg6", AttachType::Udp6Sendmsg),
    hook("mesh_recvmsg4", AttachType::Udp4Recvmsg),
    hook("mesh_recvmsg6", AttachType::Udp6Recvmsg),
    hook("mesh_peername4", AttachType::Inet4Getpeername),
    hook("mesh_peername6", AttachType::Inet6Getpeername),
];

/// The hooks that are attached while a pod may be pending or unknown pods are refused.
pub(super) const ARMED: [CgroupHook; 2] =
    [hook("mesh_skb_in", AttachType::CgroupInetIngress), hook("mesh_skb_out", AttachType::CgroupInetEgress)];

/// A place a program is attached at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Point {
    /// On the cgroup root.
    Cgroup(CgroupHook),
    /// `mesh_gate` in the network namespace of this cookie.
    Gate(u64),
    /// `mesh_from_pod`, what arrives at the interface of this index.
    FromPod(u32),
    /// `mesh_to_pod`, what leaves by the interface of this index.
    ToPod(u32),
    /// `mesh_getopt` on the agent's cgroup of this id.
    Getopt(u64),
    /// `mesh_setopt` on the agent's cgroup of this id.
    Setopt(u64),
}

impl Point {
    fn program(self) -> &'static str {
        match self {
            Self::Cgroup(hook) => hook.program,
            Self::Gate(_) => "mesh_gate",
            Self::FromPod(_) => "mesh_from_pod",
            Self::ToPod(_) => "mesh_to_pod",
            Self::Getopt(_) => "mesh_getopt",
            Self::Setopt(_) => "mesh_setopt",
        }
    }

    fn attach_type(self) -> AttachType {
        match self {
            Self::Cgroup(hook) => hook.attach_type,
            Self::Gate(_) => AttachType::SkLookup,
            Self::FromPod(_) => AttachType::TcxIngress,
            Self::ToPod(_) => AttachType::TcxEgress,
            Self::Getopt(_) => AttachType::CgroupGetsockopt,
            Self::Setopt(_) => AttachType::CgroupSetsockopt,
        }
    }

    /// The name of its pin.
    pub(super) fn name(self) -> String {
        match self {
            Self::Cgroup(hook) => hook.program.to_owned(),
            Self::Gate(cookie) => format!("mesh_gate_{cookie}"),
            Self::FromPod(index) => format!("mesh_from_pod_{index}"),
            Self::ToPod(index) => format!("mesh_to_pod_{index}"),
            Self::Getopt(cgroup) => format!("mesh_getopt_{cgroup}"),
            Self::Setopt(cgroup) => format!("mesh_setopt_{cgroup}"),
        }
    }

    /// The place a pin of this name stands for.
    pub(super) fn parse(name: &str) -> Option<Self> {
        if let Some(hook) = ALWAYS.iter().chain(&ARMED).find(|hook| hook.program == name) {
            return Some(Self::Cgroup(*hook));
        }
        let (kind, number) = name.rsplit_once('_')?;
        match kind {
            "mesh_gate" => number.parse().ok().map(Self::Gate),
            "mesh_from_pod" => number.parse().ok().map(Self::FromPod),
            "mesh_to_pod" => number.parse().ok().map(Self::ToPod),
            "mesh_getopt" => number.parse().ok().map(Self::Getopt),
            "mesh_setopt" => number.parse().ok().map(Self::Setopt),
            _ => None,
        }
    }
}

/// Why a program is not attached.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// The program is not there.
    #[error(transparent)]
    Program(#[from] ProgramsError),
    /// The system call failed.
    #[error("{what} {point}: {source}{}", hint(source))]
    Call {
        /// What was being done.
        what: &'static str,
        /// The pin's name.
        point: String,
        /// Why not.
        source: io::Error,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::E2BIG) => " (64 programs are attached there already, the kernel's limit)",
        Some(libc::ENOLINK) => " (what it was attached to is gone)",
        Some(libc::EPERM) => " (needs CAP_BPF and CAP_NET_ADMIN)",
        _ => "",
    }
}

fn call(what: &'static str, point: Point) -> impl FnOnce(io::Error) -> LinkError {
    move |source| LinkError::Call { what, point: point.name(), source }
}

/// The links of this agent.
#[derive(Debug)]
pub(super) struct Links {
    directory: PathBuf,
    cgroup: File,
    programs: Arc<Programs>,
    open: BTreeMap<Point, OwnedFd>,
}

impl Links {
    /// Adopts the pinned links, replacing their programs in place by the newly loaded ones.
    ///
    /// # Errors
    /// When a link that is alive cannot be updated: an old program would go on running.
    pub(super) fn adopt(
        directory: PathBuf,
        cgroup_root: &Path,
        programs: Arc<Programs>,
    ) -> Result<Self, LinkError> {
        let cgroup = File::open(cgroup_root).map_err(|source| LinkError::Call {
            what: "opening the cgroup root for",
            point: cgroup_root.display().to_string(),
            source,
        })?;
        let mut links = Self { directory, cgroup, programs, open: BTreeMap::new() };
        for path in pins::entries(&links.directory) {
            let Some(point) = path.file_name().and_then(|name| Point::parse(name.to_str()?)) else {
                tracing::warn!(pin = %path.display(), "not a link of this version; left alone");
                continue;
            };
            links.adopt_one(point, &path)?;
        }
        Ok(links)
    }

    fn adopt_one(&mut self, point: Point, path: &Path) -> Result<(), LinkError> {
        let link = bpf::open_pin(path).map_err(call("opening link", point))?;
        let info = bpf::link_info(link.as_fd()).map_err(call("looking at link", point))?;
        if info.is_defunct() {
            return fs::remove_file(path).map_err(call("removing link", point));
        }
        let (program, _) = self.programs.get(point.program())?;
        match bpf::update_link(link.as_fd(), program) {
            Ok(()) => {
                self.open.insert(point, link);
                Ok(())
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {
                fs::remove_file(path).map_err(call("removing link", point))
            }
            Err(error) => Err(call("replacing the program of link", point)(error)),
        }
    }

    /// Attaches to the cgroup root, unless that is done already.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn attach_cgroup(&mut self, hook: CgroupHook) -> Result<(), LinkError> {
        let point = Point::Cgroup(hook);
        if self.open.contains_key(&point) {
            return Ok(());
        }
        let link = self.create(point, bpf::target(&self.cgroup))?;
        self.keep(point, link)
    }

    /// Attaches the gate to a pod's namespace, unless that is done already.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn attach_gate(&mut self, cookie: u64, netns: &Netns) -> Result<(), LinkError> {
        self.ensure(Point::Gate(cookie), bpf::target(netns))
    }

    /// Attaches source validation to the host side of a pod's interface, unless that is done
    /// already.
    ///
    /// # Errors
    /// When the kernel refuses, or the interface is gone.
    pub(super) fn attach_interface(&mut self, index: u32) -> Result<(), LinkError> {
        self.ensure(Point::FromPod(index), Target::Interface(index))
    }

    /// Attaches the judge of protocols other than TCP and UDP towards a pod where its policy has
    /// a say in them, and detaches it where not: it sees every packet.
    ///
    /// # Errors
    /// When the kernel refuses, or the interface is gone.
    pub(super) fn judge_other_protocols(&mut self, index: u32, wanted: bool) -> Result<(), LinkError> {
        if wanted {
            return self.ensure(Point::ToPod(index), Target::Interface(index));
        }
        self.detach(Point::ToPod(index));
        Ok(())
    }

    /// Attaches the answerers of the mesh's own socket options to a cgroup of the agent, unless that
    /// is done already. They stay for as long as the cgroup is there: an agent that is being
    /// replaced still needs them.
    ///
    /// # Errors
    /// When the kernel refuses, or the cgroup is gone.
    pub(super) fn attach_options(&mut self, cgroup: &Path) -> Result<(), LinkError> {
        let opened = File::open(cgroup).and_then(|directory| Ok((directory.metadata()?.ino(), directory)));
        let (id, directory) = opened.map_err(|source| LinkError::Call {
            what: "opening the agent's cgroup for",
            point: cgroup.display().to_string(),
            source,
        })?;
        for point in [Point::Getopt(id), Point::Setopt(id)] {
            self.ensure(point, bpf::target(&directory))?;
        }
        Ok(())
    }

    /// Detaches them from every cgroup but these.
    pub(super) fn keep_options(&mut self, cgroups: &[PathBuf]) {
        let kept: Vec<u64> = cgroups.iter().filter_map(|path| Some(path.metadata().ok()?.ino())).collect();
        let is_left = |point: &Point| match point {
            Point::Getopt(id) | Point::Setopt(id) => !kept.contains(id),
            _ => false,
        };
        for point in self.points().filter(is_left).collect::<Vec<_>>() {
            self.detach(point);
        }
    }

    fn ensure(&mut self, point: Point, target: Target<'_>) -> Result<(), LinkError> {
        if self.open.contains_key(&point) {
            return Ok(());
        }
        let link = self.create(point, target)?;
        self.keep(point, link)
    }

    fn create(&self, point: Point, target: Target<'_>) -> Result<OwnedFd, LinkError> {
        let (program, _) = self.programs.get(point.program())?;
        bpf::create_link(program, target, point.attach_type()).map_err(call("attaching", point))
    }

    fn keep(&mut self, point: Point, link: OwnedFd) -> Result<(), LinkError> {
        let path = self.directory.join(point.name());
        // A pin that is not in `open` was defunct; its name is free to use.
        let _ = fs::remove_file(&path);
        bpf::pin(link.as_fd(), &path).map_err(call("pinning link", point))?;
        self.open.insert(point, link);
        Ok(())
    }

    /// Detaches, at once and for good. What is not attached is fine.
    pub(super) fn detach(&mut self, point: Point) {
        if let Some(link) = self.open.remove(&point) {
            // Fails only where the target is gone, and then nothing is attached any more.
            let _ = bpf::detach_link(link.as_fd());
        }
        let _ = fs::remove_file(self.directory.join(point.name()));
    }

    /// The places attached.
    pub(super) fn points(&self) -> impl Iterator<Item = Point> + '_ {
        self.open.keys().copied()
    }

    /// Checks every link: its program is ours and its target is there; what is attached at the
    /// cgroup root is asked there, too. Forgets what is gone, and says what was wrong.
    pub(super) fn verify(&mut self) -> Vec<(Point, String)> {
        let mut wrong = Vec::new();
        for (&point, link) in &self.open {
            if let Err(why) = self.verify_one(point, link) {
                wrong.push((point, why));
            }
        }
        for (point, _) in &wrong {
            self.detach(*point);
        }
        wrong
    }

    fn verify_one(&self, point: Point, link: &OwnedFd) -> Result<(), String> {
        let (_, ours) = self.programs.get(point.program()).map_err(|error| error.to_string())?;
        let info = bpf::link_info(link.as_fd()).map_err(|error| error.to_string())?;
        if info.is_defunct() {
            return Err("what it was attached to is gone".to_owned());
        }
        if info.program != ours {
            return Err(format!("runs program {} instead of ours, {ours}", info.program));
        }
        if let Point::Cgroup(hook) = point {
            let there = bpf::attached_programs(bpf::target(&self.cgroup), hook.attach_type)
                .map_err(|error| error.to_string())?;
            if !there.contains(&ours) {
                return Err(format!("the cgroup runs programs {there:?} and not ours, {ours}"));
            }
        }
        let path = self.directory.join(point.name());
        if !path.exists() {
            tracing::warn!(pin = %path.display(), "somebody removed the pin of a link; pinned again");
            bpf::pin(link.as_fd(), &path).map_err(|error| format!("pinning again: {error}"))?;
        }
        Ok(())
    }

    /// What the kernel says of every link, by the name of its pin.
    pub(super) fn infos(&self) -> BTreeMap<String, LinkInfo> {
        self.open
            .iter()
            .filter_map(|(point, link)| Some((point.name(), bpf::link_info(link.as_fd()).ok()?)))
            .collect()
    }

    /// The loaded programs.
    pub(super) fn programs(&self) -> &Programs {
        &self.programs
    }
}

#[cfg(test)]
mod tests {
    use super::{ALWAYS, ARMED, Point};

    #[test]
    fn a_pin_is_found_again_by_its_name() {
        let points = ALWAYS.iter().chain(&ARMED).map(|hook| Point::Cgroup(*hook)).chain([
            Point::Gate(u64::MAX),
            Point::FromPod(7),
            Point::ToPod(u32::MAX),
            Point::Getopt(1),
            Point::Setopt(u64::MAX),
        ]);
        for point in points {
            assert_eq!(Point::parse(&point.name()), Some(point));
        }
        assert_eq!(Point::parse("mesh_gate_x"), None);
        assert_eq!(Point::parse("somebody_elses"), None);
    }
}
