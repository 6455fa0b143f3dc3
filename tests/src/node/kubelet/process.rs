//! A process of a container: started in the pod's namespaces and the container's control group, with its output in a
//! log of its own.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    path::PathBuf,
    process::{Child, Stdio},
};

use k8s_openapi::api::core::v1::Container;

use super::{Context, environment, sandbox::Sandbox};
use crate::{
    cgroup,
    launch::{Launch, RootView, User},
    node::PodAssignment,
};

/// A container's process could not be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    #[error("cannot start container {container}: {source}")]
    Start { container: String, source: io::Error },
}

/// How processes of one container are launched: everything but the command.
#[derive(Debug, Clone)]
pub(super) struct Place {
    container: String,
    launch: Launch,
    log: PathBuf,
}

impl Place {
    /// The place of `container`, whose control group is made.
    pub(super) fn new(
        context: &Context,
        assignment: &PodAssignment,
        sandbox: &Sandbox,
        container: &Container,
        environment: BTreeMap<String, String>,
        view: Option<RootView>,
    ) -> Result<Self, Error> {
        let cgroup = context.node.pod_cgroup(&assignment.uid).join(&container.name);
        cgroup::create(&cgroup)?;
        let key = &assignment.key;
        let log = context.layout.log(&format!("{}.{}.{}", key.namespace, key.name, container.name));
        let launch = Launch {
            cgroup: Some(cgroup),
            network: Some(sandbox.namespace("net")),
            uts: Some(sandbox.namespace("uts")),
            mounts: Some(sandbox.namespace("mnt")),
            root: view,
            user: user(assignment, container),
            directory: Some(container.working_dir.clone().unwrap_or_else(|| "/".to_owned()).into()),
            environment: Some(environment),
            new_session: true,
            ..Launch::default()
        };
        Ok(Self { container: container.name.clone(), launch, log })
    }

    /// Starts the container's own command.
    pub(super) fn start(&self, context: &Context, container: &Container) -> Result<Child, Error> {
        let environment = self.launch.environment.clone().unwrap_or_default();
        let words = container.command.iter().flatten().chain(container.args.iter().flatten());
        let argv = words.map(|word| environment::expand(word, &environment)).collect();
        let failed = |source| Error::Start { container: self.container.clone(), source };
        let log = self.open_log().map_err(failed)?;
        let errors = log.try_clone().map_err(failed)?;
        self.spawn(context, argv, log.into(), errors.into())
    }

    /// Starts another command beside it, for an exec probe or a hook.
    pub(super) fn exec(&self, context: &Context, argv: Vec<String>) -> Result<Child, Error> {
        self.spawn(context, argv, Stdio::null(), Stdio::null())
    }

    fn spawn(
        &self,
        context: &Context,
        argv: Vec<String>,
        output: Stdio,
        errors: Stdio,
    ) -> Result<Child, Error> {
        let launch = Launch { argv, ..self.launch.clone() };
        let mut command = launch.command(&context.config.testbed_program);
        command.stdout(output).stderr(errors);
        command.spawn().map_err(|source| Error::Start { container: self.container.clone(), source })
    }

    fn open_log(&self) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).open(&self.log)
    }
}

fn user(assignment: &PodAssignment, container: &Container) -> Option<User> {
    let pod = assignment.pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let own = container.security_context.as_ref();
    let uid = own
        .and_then(|context| context.run_as_user)
        .or_else(|| pod.and_then(|context| context.run_as_user))?;
    let gid =
        own.and_then(|context| context.run_as_group).or_else(|| pod.and_then(|context| context.run_as_group));
    let id = |number: i64| u32::try_from(number).unwrap_or(u32::MAX - 1);
    let no_new_privileges = own.and_then(|context| context.allow_privilege_escalation) == Some(false);
    Some(User { uid: id(uid), gid: id(gid.unwrap_or(0)), no_new_privileges })
}
