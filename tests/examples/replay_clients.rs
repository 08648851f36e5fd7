//! The replay example finds the client among what servers write before the time, or says why not.

use crate::support::replay;

/// The clients of the log with these heads of lines, in order of their names; or the first
/// complaint.
fn clients(key: &str, heads: &[&str]) -> Result<Vec<String>, String> {
    let mut log = String::new();
    for head in heads {
        let rest = r#"[01/Jan/2026:12:03:00 +0000] "GET / HTTP/1.1" 200 1"#;
        log += &format!("{head} {rest}\n{head} {rest}\n");
    }
    let flags = ["--limit", "1/day", "--top", "99", "--key", key];
    let output = replay::run_on(log.as_bytes(), &flags);
    let (said, complaints) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    if let Some(complaint) = complaints.lines().next() {
        return Err(complaint.to_owned());
    }
    let (_, rows) = said.split_once("share\n").expect("somebody is denied");
    let mut clients: Vec<String> = rows
        .lines()
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect();
    clients.sort();
    Ok(clients)
}

fn client(head: &str) -> Result<String, String> {
    clients("ip", &[head]).map(|clients| clients.join(" and "))
}

/// One bucket for all clients of a virtual host denied 84 % of a log.
#[test]
fn client_is_found_behind_a_prefix() {
    for prefix in [
        "www.example.com:443",
        "www.example.com",
        "*:80",
        "_",
        "192.0.2.10:443",
        "[2001:db8::a]:443",
        "2026-01-01T12:03:00.123456Z",
        "2026-01-01 12:03:00",
        "[01/Jan/2026:12:03:00 +0000]",
        "1767268980.123",
        "Jan  1 12:03:00 web1 nginx:",
        "<190>Jan  1 12:03:00 web1 nginx[1234]:",
        "Jan  1 12:03:00 192.0.2.10 nginx:",
        "2026-01-01T12:03:00+00:00 192.0.2.10 httpd[7]:",
        "<190>1 2026-01-01T12:03:00Z 192.0.2.10 nginx 7 - -",
        r#"<190>1 2026-01-01T12:03:00Z web1 nginx 7 - [a@1 from="192.0.2.10"]"#,
        "web-1  |",
        "2026-01-01T12:03:00Z stdout F",
        "access.log:17: www.example.com:443",
        "\u{feff}www.example.com:80",
    ] {
        for who in ["203.0.113.5 - -", "203.0.113.5 - John Doe", "203.0.113.5 ident -"] {
            let head = format!("{prefix} {who}");
            let found = client(&head);
            assert_eq!(found.as_deref(), Ok("203.0.113.5"), "{head}");
        }
        let head = format!("{prefix} 2001:DB8::7 - -");
        assert_eq!(client(&head).as_deref(), Ok("2001:db8::7"), "{head}");
    }
}

/// Names of hosts stand where the server looks them up.
#[test]
fn names_of_hosts_are_clients() {
    for (head, name) in [
        ("host.example - -", "host.example"),
        ("Host.Example. - John Doe", "host.example"),
        ("localhost ident alice", "localhost"),
        ("203.0.113.5.pool.example - -", "203.0.113.5.pool.example"),
        ("ip-203-0-113-5.internal - -", "ip-203-0-113-5.internal"),
        ("www.example.com:443 host.example - -", "host.example"),
        ("192.0.2.10:443 host.example - -", "host.example"),
        ("Jan  1 12:03:00 192.0.2.10 nginx: host.example - -", "host.example"),
        ("203.0.113.5 www.example.com - -", "203.0.113.5"),
        ("203.0.113.5 - [203.0.113.5] - -", "203.0.113.5"),
    ] {
        assert_eq!(client(head).as_deref(), Ok(name), "{head}");
    }
}

/// No line that can be read in two ways is counted for the wrong one.
#[test]
fn unclear_lines_are_refused_with_a_reason() {
    let neither = "is neither an address nor the name of a host";
    for (head, why) in [
        ("www.example.com:443 - -", neither),
        ("www.example.com:443 - John Doe", neither),
        ("- - -", neither),
        ("unix: - -", neither),
        ("access.log:203.0.113.5 - -", neither),
        ("203.0.113.999 - -", neither),
        ("203.0.113.005 - -", neither),
        ("web1-203.0.113.5 - -", neither),
        ("2026-01-01T12:03:00Z - -", neither),
        ("203.0.113.5:99999 - -", neither),
        ("[2001:db8::7 - -", neither),
        ("www.example.com host.example - -", "several names before the time"),
        ("www.example.com host.example -", "several names before the time"),
        ("10.0.0.1 203.0.113.5 - -", "which is the client, 10.0.0.1 or 203.0.113.5, is not told"),
        ("203.0.113.5:50123 10.0.0.1 - -", "which is the client, 203.0.113.5 or 10.0.0.1"),
        ("203.0.113.5 - 10.0.0.1", "which is the client"),
        ("10.0.0.1 (203.0.113.5) - -", "which is the client"),
        ("src=203.0.113.5 10.0.0.1 - -", "or the one in \"src=203.0.113.5\", is not told"),
        ("www.example.com - 203.0.113.5", "203.0.113.5 does not stand where the client does"),
        ("web1 10.0.0.1 host.example - -", "10.0.0.1 does not stand where the client does"),
        ("unknown, 203.0.113.5 - -", "not all of the list \"unknown, 203.0.113.5\" are addresses"),
        ("203.0.113.5 -", "it does not begin with a host, two names and [a time]"),
    ] {
        let told = client(head);
        assert!(told.as_ref().is_err_and(|told| told.contains(why)), "{head}: {told:?}");
    }
}

#[test]
fn spellings_of_an_address_are_one_client() {
    for (spellings, name) in [
        (
            &[
                "2001:db8::7",
                "2001:DB8::7",
                "2001:0db8:0000:0000:0000:0000:0000:0007",
                "2001:db8:0:0::0.0.0.7",
                "[2001:db8::7]",
                "[2001:DB8::7]:50123",
            ][..],
            "2001:db8::7",
        ),
        (
            &[
                "203.0.113.5",
                "203.0.113.5:50123",
                "\"203.0.113.5\"",
                "::ffff:203.0.113.5",
                "::FFFF:cb00:7105",
                "0:0:0:0:0:ffff:203.0.113.5",
                "[::ffff:203.0.113.5]:50123",
            ],
            "203.0.113.5",
        ),
        (&["fe80::1%eth0", "FE80:0::1%eth0", "[fe80::1%eth0]:80"], "fe80::1%eth0"),
        (&["host.example", "HOST.example", "host.example."], "host.example"),
    ] {
        let heads: Vec<_> = spellings.iter().map(|spelling| format!("{spelling} - -")).collect();
        let heads: Vec<_> = heads.iter().map(String::as_str).collect();
        assert_eq!(clients("ip", &heads).unwrap(), [name]);
    }
}

/// Proxies add the address that they were asked from at the end. Many networks share private
/// addresses.
#[test]
fn first_public_address_of_a_forwarded_list_is_the_client_and_told() {
    for head in [
        "203.0.113.5, 10.0.0.1 - -",
        "203.0.113.5,10.0.0.1 - -",
        "\"203.0.113.5, 10.0.0.1, 127.0.0.1\" - -",
        "192.168.1.7, ::ffff:203.0.113.5, 198.51.100.9 - alice",
        "www.example.com:443 203.0.113.5, fd00::1 - -",
    ] {
        assert_eq!(client(head).as_deref(), Ok("203.0.113.5"), "{head}");
    }
    assert_eq!(client("10.0.0.7, 10.0.0.1 - -").as_deref(), Ok("10.0.0.7"));
    let line = br#"203.0.113.5, 10.0.0.1 - - [01/Jan/2026:12:03:00 +0000] "GET / HTTP/1.1" 200 1"#;
    let said = String::from_utf8(replay::run_on(line, &["--limit", "1/s"]).stdout).unwrap();
    let told = "1 requests name several addresses; the first public one is taken for the client";
    assert!(said.contains(told), "{said}");
}

#[test]
fn users_are_found_behind_a_prefix() {
    let heads = [
        "www.example.com:443 203.0.113.5 - alice",
        "203.0.113.6 - alice",
        "192.0.2.1 - -",
        "Jan  1 12:03:00 web1 nginx: host.example - bob",
        "203.0.113.7 www.example.com - -",
    ];
    assert_eq!(clients("user", &heads).unwrap(), ["192.0.2.1", "203.0.113.7", "alice", "bob"]);
    // Neither a path nor an agent needs the client.
    assert_eq!(clients("path", &["10.0.0.1 203.0.113.5 - -"]).unwrap(), ["/"]);
}
