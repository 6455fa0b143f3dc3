//! What the controller is told of pods, between a fake controller and a fake wire.

use super::{scene, tell_bank, until};
use crate::handover::{FromWire, PodReport, PodState};

pub(super) fn wired_late(uid: &str) -> PodReport {
    PodReport {
        reason: "Tunnel=False: too many open files".into(),
        late_enrolled: true,
        ..PodReport::of(uid, PodState::Wired)
    }
}

#[test]
fn the_controller_is_told_of_pods_whole_and_then_of_changes() {
    scene(async |scene| {
        tell_bank(&scene.controller).await;
        until("the first state", || scene.controller.acknowledged().len() == 5).await;
        until("a report", || !scene.controller.reports().is_empty()).await;
        assert!(scene.controller.reports()[0].whole);
        scene.wire.report(FromWire::Pod(wired_late("uid-vault")));
        let told = || -> Vec<_> {
            scene.controller.reports().into_iter().flat_map(|message| message.pods).collect()
        };
        until("the pod", || !told().is_empty()).await;
        let vault = &told()[0];
        assert_eq!((vault.uid.as_str(), vault.late), ("uid-vault", true));
        assert_eq!(vault.reason, "Tunnel=False: too many open files");
        scene.wire.report(FromWire::PodGone { uid: "uid-vault".into() });
        let gone = || scene.controller.reports().into_iter().any(|message| message.gone == ["uid-vault"]);
        until("its end", gone).await;

        // Who is connected to anew is told the whole again.
        let before = scene.controller.reports().len();
        scene.controller.stop();
        scene.controller.serve(&scene.directory.join("ads.sock"));
        until("the whole again", || scene.controller.reports()[before..].iter().any(|message| message.whole))
            .await;
    });
}
