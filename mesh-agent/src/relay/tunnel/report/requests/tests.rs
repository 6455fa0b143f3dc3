use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use http::Version;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::{About, HOST, Metered, PATH};
use crate::relay::engine::record::{Ending, Recording, Tell};
use crate::relay::tunnel::counts::Counts;
use crate::relay::tunnel::report::{DETAIL, PeerIdentity, Reporter, Reports, Side};

fn about() -> About {
    About {
        side: Side::Source,
        pod: "uid".into(),
        own: None,
        source: None,
        peer: PeerIdentity::Unknown,
        dialled: None,
        service: Some("bank/vault:80".into()),
        destination_port: None,
    }
}

fn begin(room: usize) -> (Rc<dyn Tell>, Reports, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let (reporter, reports) = Reporter::new(room, Arc::clone(&counts));
    (reporter.requests(about()), reports, counts)
}

fn request(tell: &Rc<dyn Tell>, ending: Ending) {
    Recording::start(Rc::clone(tell), Version::HTTP_11).end(ending, "é".repeat(DETAIL));
}

#[test]
fn a_request_is_told_once_with_its_connection_and_nobody_fills_the_log() {
    let (tell, mut reports, counts) = begin(8);
    let mut recording = Recording::start(Rc::clone(&tell), Version::HTTP_11);
    recording.path = format!("/{}", "é".repeat(PATH));
    recording.authority = "a".repeat(10 * HOST);
    recording.end(Ending::Forwarded, "é".repeat(DETAIL));
    drop(recording);
    let told = reports.requests.try_recv().unwrap();
    assert_eq!(*told.about, about());
    for (text, most) in
        [(&told.record.path, PATH), (&told.record.authority, HOST), (&told.record.detail, DETAIL)]
    {
        assert!(text.len() <= most && text.len() > most - 4, "{}", text.len());
    }
    assert!(reports.requests.try_recv().is_err() && reports.connections.try_recv().is_err());
    assert_eq!(counts.requests().collect::<Vec<_>>(), [(Ending::Forwarded, 1)]);
}

#[test]
fn requests_that_find_no_room_are_counted_and_take_none_from_connections() {
    let (tell, mut reports, counts) = begin(1);
    for ending in Ending::ALL {
        request(&tell, ending);
    }
    assert_eq!(counts.requests().collect::<Vec<_>>(), Ending::ALL.map(|ending| (ending, 1)));
    assert_eq!(counts.requests_lost.load(Relaxed), Ending::ALL.len() as u64 - 1);
    assert_eq!(counts.reports_lost.load(Relaxed), 0);
    assert_eq!(reports.requests.try_recv().unwrap().record.ending, Ending::ALL[0]);
}

#[tokio::test]
async fn octets_count_in_both_directions_and_the_stream_while_it_is_open() {
    let counts = Arc::new(Counts::default());
    let (mut client, server) = duplex(64);
    let mut server = Metered::new(server, &counts);
    assert_eq!(counts.engine_open.load(Relaxed), 1);
    client.write_all(b"GET /").await.unwrap();
    let mut read = [0; 5];
    server.read_exact(&mut read).await.unwrap();
    server.write_all(b"200").await.unwrap();
    server.shutdown().await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "200");
    drop(server);
    let now = [&counts.engine_bytes_received, &counts.engine_bytes_sent, &counts.engine_open];
    assert_eq!(now.map(|count| count.load(Relaxed)), [5, 3, 0]);
}
