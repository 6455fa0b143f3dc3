//! Joining by the token of the agent's ServiceAccount.

use std::rc::Rc;

use super::{Options, Scene, scene, start, tell_bank, until};

/// A second relay of the same node, as Kubernetes runs it: with a directory that kubelet keeps.
async fn start_in_kubernetes(scene: &Scene, directory: &std::path::Path) -> Rc<super::Node> {
    let options = Options {
        run_dir: directory.to_owned(),
        join: None,
        service_account: Some(directory.join("account")),
        ..super::options(&scene.directory)
    };
    start(&options).await.unwrap()
}

#[test]
fn an_agent_joins_with_what_kubelet_projects_and_with_the_next_token_if_that_one_is_refused() {
    scene(async |scene| {
        tell_bank(&scene.controller).await;
        let directory = scene.directory.join("kubernetes");
        let account = directory.join("account");
        std::fs::create_dir_all(&account).unwrap();
        let node = start_in_kubernetes(&scene, &directory).await;
        let trouble = || node.discovery.trouble.borrow().clone();
        until("it says what is not there", || trouble().contains("token is not there")).await;
        assert!(trouble().contains("audience mesh-control"), "{}", trouble());

        scene.controller.write_account(&account, "first");
        until("the refusal", || trouble().contains("of audience mesh-control, and of the pod")).await;
        assert!(!node.discovery.connected.get());

        // kubelet replaces it in time.
        scene.controller.admit("second");
        scene.controller.write_account(&account, "second");
        until("a stream", || node.discovery.connected.get()).await;
        assert!(trouble().is_empty(), "{}", trouble());
    });
}

#[test]
fn a_controller_that_has_too_much_to_do_is_asked_again_with_the_same_token() {
    scene(async |scene| {
        tell_bank(&scene.controller).await;
        let directory = scene.directory.join("kubernetes");
        let account = directory.join("account");
        std::fs::create_dir_all(&account).unwrap();
        scene.controller.write_account(&account, "good");
        scene.controller.admit("good");
        scene.controller.busy(true);
        let node = start_in_kubernetes(&scene, &directory).await;
        let trouble = || node.discovery.trouble.borrow().clone();
        until("it says that it asks again", || trouble().contains("asks again, with longer")).await;
        assert!(!trouble().contains("audience"), "nothing is wrong with the token: {}", trouble());
        scene.controller.busy(false);
        until("a stream", || node.discovery.connected.get()).await;
    });
}
