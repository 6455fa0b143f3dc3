//! Make before break, as an agent sees it.

use super::{Controller, client::Client};

/// A pod in the mesh, ready or not.
fn pod(name: &str, address: u8, ready: bool) -> String {
    format!(
        "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: shop, uid: u-{name}, labels: {{app: web, mesh.internal/mode: enabled}}}}
spec: {{nodeName: n2, containers: [{{name: main}}]}}
status: {{podIP: 10.0.0.{address}, conditions: [{{type: Ready, status: '{}'}}]}}
",
        if ready { "True" } else { "False" }
    )
}

async fn connected(controller: &mut Controller, world: &str) -> Client {
    controller.set(&(world.to_owned() + super::SERVICE));
    let mut client = controller.connect("n1").await;
    client.subscribe("Workload", &["*"], &[]).await;
    client.subscribe("Service", &["*"], &[]).await;
    client.take("Workload").await;
    assert_eq!(client.take("Service").await.updated, ["shop/web"]);
    client.settled().await;
    client
}

#[tokio::test]
async fn a_service_is_told_when_the_pods_it_leads_to_are_acknowledged() {
    let mut controller = Controller::start();
    let first = pod("a", 1, true);
    let mut client = connected(&mut controller, &first).await;
    // A new pod, ready at once: both change in one build.
    controller.set(&(first.clone() + &pod("b", 2, true) + super::SERVICE));
    let pods = client.receive("Workload").await;
    assert_eq!(pods.updated, ["shop/b/u-b"]);
    assert!(client.silent().await, "the Service names an address that the agent takes for a stranger's");
    // Another pod comes meanwhile; a Service that does not lead to it need not wait.
    controller.set(&(first + &pod("b", 2, true) + &pod("c", 3, false) + super::SERVICE));
    assert!(client.silent().await);
    client.acknowledge(&pods).await;
    assert_eq!(client.receive("Workload").await.updated, ["shop/c/u-c"]);
    assert_eq!(client.take("Service").await.updated, ["shop/web"]);
}

#[tokio::test]
async fn an_agent_that_resumes_waits_and_one_that_begins_is_told_all_at_once() {
    let mut controller = Controller::start();
    controller.set(&(pod("a", 1, true) + super::SERVICE));
    // Its first state is in force as a whole: acknowledgements come after that.
    let mut begins = controller.connect("n1").await;
    begins.subscribe("Workload", &["*"], &[]).await;
    begins.subscribe("Service", &["*"], &[]).await;
    assert_eq!(begins.receive("Workload").await.updated, ["shop/a/u-a"]);
    assert_eq!(begins.receive("Service").await.updated, ["shop/web"]);

    let mut resumes = controller.connect("n2").await;
    let config = [("n2".to_owned(), "1".to_owned())];
    resumes.subscribe("NodeConfig", &["*"], &config).await;
    resumes.subscribe("Workload", &["*"], &[]).await;
    resumes.subscribe("Service", &["*"], &[]).await;
    resumes.take("NodeConfig").await;
    let pods = resumes.receive("Workload").await;
    assert!(resumes.silent().await, "not even that there are no Services");
    resumes.acknowledge(&pods).await;
    assert_eq!(resumes.take("Service").await.updated, ["shop/web"]);
}

#[tokio::test]
async fn a_pod_is_taken_back_after_the_services_that_led_to_it() {
    let mut controller = Controller::start();
    let (a, b) = (pod("a", 1, true), pod("b", 2, true));
    let mut client = connected(&mut controller, &(a.clone() + &b)).await;
    controller.set(&(a.clone() + super::SERVICE));
    let services = client.receive("Service").await;
    assert_eq!(services.updated, ["shop/web"]);
    assert!(client.silent().await, "the agent may still pick the address");
    // The Service goes on changing: that is not waited for.
    controller.set(&(pod("a", 1, false) + super::SERVICE));
    assert!(client.silent().await);
    client.acknowledge(&services).await;
    assert_eq!(client.receive("Service").await.updated, ["shop/web"]);
    assert_eq!(client.take("Workload").await.removed, ["shop/b/u-b"]);
}

#[tokio::test]
async fn a_pod_that_no_service_led_to_is_taken_back_at_once() {
    let mut controller = Controller::start();
    let a = pod("a", 1, true);
    let mut client = connected(&mut controller, &(a.clone() + &pod("b", 2, false))).await;
    controller.set(&(a + super::SERVICE));
    assert_eq!(client.take("Workload").await.removed, ["shop/b/u-b"]);
    assert!(client.silent().await);
}

#[tokio::test]
async fn an_agent_that_never_answers_is_told_the_last_state_once_it_does() {
    let mut controller = Controller::start();
    let mut client = connected(&mut controller, &pod("a", 1, true)).await;
    controller.set(&(pod("a", 1, true) + &pod("b", 2, true) + super::SERVICE));
    let pods = client.receive("Workload").await;
    for round in 0..50 {
        let others: String = (3..=4 + round % 3).map(|name| pod(&format!("p{name}"), name, true)).collect();
        controller.set(&(pod("a", 1, true) + &others + super::SERVICE));
    }
    assert!(client.silent().await, "nothing is queued for it");
    client.acknowledge(&pods).await;
    let mut told = client.receive("Workload").await;
    assert_eq!(told.updated, ["shop/p3/u-p3", "shop/p4/u-p4", "shop/p5/u-p5"]);
    client.acknowledge(&told).await;
    assert_eq!(client.take("Service").await.updated, ["shop/web"]);
    told = client.take("Workload").await;
    assert_eq!(told.removed, ["shop/b/u-b"]);
    assert!(client.silent().await);
}

const CANARY: &str = "---
apiVersion: v1
kind: Service
metadata: {name: canary, namespace: shop}
spec: {clusterIP: 10.96.0.2, selector: {app: web}, ports: [{port: 80}]}
";

/// A route of the Service that leads to the canary.
const ROUTE: &str = "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{group: '', kind: Service, name: web, port: 80}]
  rules: [{backendRefs: [{name: canary, port: 80}]}]
";

#[tokio::test]
async fn routes_are_told_when_the_services_that_came_with_them_are_acknowledged() {
    let mut controller = Controller::start();
    let mut client = connected(&mut controller, &pod("a", 1, true)).await;
    client.subscribe("ServiceRoutes", &["*"], &[]).await;
    assert!(client.take("ServiceRoutes").await.updated.is_empty());
    client.settled().await;
    let with = |pods: &str| pods.to_owned() + CANARY + ROUTE + super::SERVICE;
    controller.set(&with(&pod("a", 1, true)));
    let services = client.receive("Service").await;
    assert_eq!(services.updated, ["shop/canary"]);
    assert!(client.silent().await, "the route leads to what the agent does not know");
    // Services go on changing: that is not waited for.
    controller.set(&with(&pod("a", 1, false)));
    client.acknowledge(&services).await;
    let changed = client.receive("Service").await;
    assert_eq!(changed.updated, ["shop/canary", "shop/web"]);
    assert_eq!(client.take("ServiceRoutes").await.updated, ["shop/web"]);
    client.acknowledge(&changed).await;
    // What is the same is not sent again.
    controller.set(&with(&pod("a", 1, true)));
    client.take("Service").await;
    assert!(client.silent().await);
    controller.set(&(pod("a", 1, true) + super::SERVICE));
    assert_eq!(client.take("ServiceRoutes").await.removed, ["shop/web"]);
    assert_eq!(client.take("Service").await.removed, ["shop/canary"]);
}

#[tokio::test]
async fn an_agent_that_begins_is_told_of_routes_at_once() {
    let mut controller = Controller::start();
    controller.set(&(pod("a", 1, true) + CANARY + ROUTE + super::SERVICE));
    let mut client = controller.connect("n1").await;
    for kind in ["Workload", "Service", "ServiceRoutes"] {
        client.subscribe(kind, &["*"], &[]).await;
    }
    assert_eq!(client.receive("Service").await.updated, ["shop/canary", "shop/web"]);
    assert_eq!(client.receive("ServiceRoutes").await.updated, ["shop/web"]);
}
