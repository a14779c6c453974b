"""What the `requests` library sees through the balancer. Arguments: the address, ADDR:PORT."""

import sys

import requests

base = f"http://{sys.argv[1]}"


def ask(session, method, host, path, **options):
    headers = {"Host": host, **options.pop("headers", {})}
    return session.request(method, base + path, headers=headers, timeout=20, **options)


def name(answer):
    """Whoami's first line."""
    return answer.text.splitlines()[0]


def sticks_to_one_upstream():
    with requests.Session() as session:
        seen = {name(ask(session, "GET", "sticky.test", "/")) for _ in range(10)}
        assert len(seen) == 1, seen
        assert "LB_SERVERID" in session.cookies
    fresh = {name(ask(requests, "GET", "sticky.test", "/")) for _ in range(10)}
    assert len(fresh) == 2, fresh


def logs_in_by_password():
    with requests.Session() as session:
        assert ask(session, "GET", "private.test", "/").status_code == 401
        assert ask(session, "GET", "private.test", "/", auth=("anna", "wrong")).status_code == 401
        answer = ask(session, "GET", "private.test", "/", auth=("anna", "secret"))
        assert answer.status_code == 200, answer.status_code
        assert "authorization" not in answer.text.lower(), answer.text


def follows_a_redirect_to_its_end():
    with requests.Session() as session:
        answer = ask(session, "GET", "nginx.test", "/old/page?a=b", allow_redirects=False)
        assert answer.status_code == 302, answer.status_code
        assert answer.headers["Location"].endswith("/new/page?a=b"), answer.headers["Location"]


def reads_what_nginx_compresses():
    with requests.Session() as session:
        answer = ask(session, "GET", "nginx.test", "/long.txt")
        assert answer.headers.get("Content-Encoding") == "gzip", answer.headers
        assert answer.text == "nginx\n" * 1000


def reads_a_range_of_apache():
    with requests.Session() as session:
        answer = ask(session, "GET", "apache.test", "/long.txt", headers={"Range": "bytes=7-12"})
        assert answer.status_code == 206, answer.status_code
        assert answer.text == "apache", answer.text
        tag = answer.headers["ETag"]
        again = ask(session, "GET", "apache.test", "/long.txt", headers={"If-None-Match": tag})
        assert again.status_code == 304 and not again.content


def sends_a_body_in_chunks():
    def pieces():
        for _ in range(100):
            yield b"x" * 1000

    with requests.Session() as session:
        answer = ask(session, "POST", "whoami.test", "/?echo=1", data=pieces())
        assert answer.status_code == 200, answer.status_code
        assert len(answer.content) == 100_000, len(answer.content)
        answer = ask(session, "POST", "small.test", "/", data=b"x" * 100_000)
        assert answer.status_code == 413, answer.status_code


def sees_our_own_answers():
    with requests.Session() as session:
        assert ask(session, "GET", "nowhere.test", "/").status_code == 404
        assert ask(session, "GET", "empty.test", "/").status_code == 503
        assert ask(session, "HEAD", "empty.test", "/").content == b""


sticks_to_one_upstream()
logs_in_by_password()
follows_a_redirect_to_its_end()
reads_what_nginx_compresses()
reads_a_range_of_apache()
sends_a_body_in_chunks()
sees_our_own_answers()
print("all seen")
