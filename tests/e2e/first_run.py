"""Checks the example job of `make run` by the API and, for the whole book, in the file.

    python3 first_run.py URL DATABASE [RUNS]
"""

import json
import sqlite3
import sys
import urllib.request

url, database = sys.argv[1:3]
runs = int(sys.argv[3]) if len(sys.argv) > 3 else 1


def call(method, path, token=None, body=None):
    request = urllib.request.Request(url + path, method=method)
    request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("Authorization", "Bearer " + token)
    data = json.dumps(body).encode() if body is not None else None
    with urllib.request.urlopen(request, data) as answer:
        return json.load(answer)


def sign_in(email):
    return call("POST", "/api/auth/login", body={"email": email, "password": "peergpu-demo"})["access_token"]


def expect(what, got, want):
    if got != want:
        sys.exit(f"first-run: {what} is {got!r}, not {want!r}")
    print(f"first-run: {what} = {got}")


renter, host = sign_in("renter@peergpu.test"), sign_in("host@peergpu.test")
jobs = call("GET", "/api/jobs", renter)["items"]
expect("number of jobs", len(jobs), runs)
job = call("GET", "/api/jobs/" + jobs[0]["id"], renter)
expect("state", job["state"], "succeeded")
expect("version", job["version"], runs)
statement = call("GET", f"/api/jobs/{job['id']}/statement", renter)
expect("statement", statement["state"], "settled")
attempt = statement["attempts"][-1]
cost = attempt["hourly_price_micros"] * attempt["billable_ms"] // 3_600_000
expect("cost (price × time ÷ 1 h)", job["cost_micros"], cost)
expect("the host's share (cost − fee)", statement["host_micros"], cost - cost * statement["fee_bps"] // 10_000)
if cost <= 0:
    sys.exit("first-run: the job cost nothing")
both = call("GET", f"/api/jobs/{job['id']}/statement", host)
expect("the host sees the same share", both["host_micros"], statement["host_micros"])
names = sorted(f["path"] for f in call("GET", f"/api/jobs/{job['id']}/artifacts", renter)["items"])
expect("results", names, ["outputs/confusion-matrix.png", "outputs/metrics.json", "outputs/model.json"])
expect("accuracy is more than 0.9", job["metrics"]["accuracy"] > 0.9, True)
account = call("GET", "/api/billing/account", renter)
expect("nothing is held", account["held_micros"], 0)
book = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
expect("sum of the ledger", book.execute("SELECT coalesce(sum(amount), 0) FROM ledger_entries").fetchone()[0], 0)
