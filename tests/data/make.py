"""Writes access.log: a small synthetic log in common and combined format, the same each time."""

import datetime
import pathlib
import random

random.seed(20260101)
start = datetime.datetime(2026, 1, 1, 11, 58, tzinfo=datetime.timezone.utc)
offsets = [datetime.timezone.utc, datetime.timezone(datetime.timedelta(hours=5, minutes=30))]
requests = []


def visit(second, client, path, user="-", agent=None, zone=0):
    requests.append((second, client, path, user, agent, zone))


# Visitors who come now and then.
for client in [f"192.0.2.{i}" for i in range(1, 13)] + ["2001:db8::7", "2001:db8::8"]:
    for _ in range(random.randint(4, 14)):
        visit(random.randrange(900), client, random.choice(["/", "/about", "/news?page=2"]))
# One who is signed in, by way of another time zone.
for i in range(30):
    visit(i * 29, "198.51.100.5", "/account", user="alice", zone=1)
# A crawler, a request every five seconds.
for i in range(150):
    visit(i * 5, "203.0.113.80", f"/page/{i}", agent="Crawler/1.0 (+http://example.org/bot)")
# A burst, twice.
for at in (300, 640):
    for i in range(25):
        visit(at + i // 10, "203.0.113.9", "/login", agent="curl/8.5.0")

requests.sort(key=lambda request: request[0])
# Some lines are a little late, as a busy server writes them.
for i in range(0, len(requests) - 3, 17):
    requests[i], requests[i + 2] = requests[i + 2], requests[i]

lines = []
for second, client, path, user, agent, zone in requests:
    time = (start + datetime.timedelta(seconds=second)).astimezone(offsets[zone])
    stamp = time.strftime("%d/%b/%Y:%H:%M:%S %z")
    line = f'{client} - {user} [{stamp}] "GET {path} HTTP/1.1" 200 {100 + len(path)}'
    if agent:
        line += f' "-" "{agent}"'
    lines.append(line)
pathlib.Path(__file__).with_name("access.log").write_text("\n".join(lines) + "\n")
