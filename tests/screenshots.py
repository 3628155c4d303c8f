#!/usr/bin/env python3
"""Makes the screenshots of docs/images: drives chromium through chromedriver, with nothing but Python's own library.

Usage: screenshots.py ADMIN_URL TOKEN FOLDER
"""
import base64
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
# name, address or an XPath of a link to follow first, width, height, scheme
SHOTS = [
    ("overview", ["/"], 1280, 1000, "light"),
    ("callback", ["/callbacks?state=held", "//tbody//a"], 1280, 900, "light"),
    ("discrepancy", ["/held?reason=risk_score", "//tbody//a"], 1280, 1150, "light"),
    ("customer", ["/customers", "//tbody//a"], 1280, 900, "light"),
    ("phone", ["/"], 390, 844, "dark"),
]


class Browser:
    def __init__(self, profile):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.driver = subprocess.Popen(
            ["chromedriver", f"--port={port}", "--silent"], env={**os.environ, "HOME": profile}
        )
        self.base = f"http://127.0.0.1:{port}"
        for _ in range(100):
            try:
                self.ask("/status")
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        args = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                f"--user-data-dir={profile}/chromium"]
        wanted = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": {"args": args}}}
        session = self.ask("/session", {"capabilities": wanted})
        self.base += "/session/" + session["sessionId"]

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def find(self, xpath):
        for _ in range(50):
            try:
                return self.ask("/element", {"using": "xpath", "value": xpath})[ELEMENT]
            except urllib.error.HTTPError:
                time.sleep(0.1)
        raise SystemExit(f"no {xpath}")

    def click(self, xpath):
        self.ask(f"/element/{self.find(xpath)}/click", {})

    def cdp(self, command, **params):
        return self.ask("/goog/cdp/execute", {"cmd": command, "params": params})

    def end(self):
        try:
            request = urllib.request.Request(self.base, method="DELETE")
            urllib.request.urlopen(request, timeout=10).close()
        finally:
            self.driver.terminate()
            self.driver.wait()


def main():
    admin, token, folder = sys.argv[1:4]
    only = sys.argv[4:]
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(profile)
        try:
            browser.ask("/url", {"url": admin + "/login"})
            field = browser.find("//input[@id='token']")
            browser.ask(f"/element/{field}/value", {"text": token})
            browser.click("//button[normalize-space()='Log in']")
            browser.find("//button[normalize-space()='Log out']")
            for name, steps, width, height, scheme in SHOTS:
                if only and name not in only:
                    continue
                browser.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                            mobile=width < 500)
                browser.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
                for step in steps:
                    if step.startswith("//"):
                        browser.click(step)
                    else:
                        browser.ask("/url", {"url": admin + step})
                time.sleep(1.5)
                shot = browser.cdp("Page.captureScreenshot", format="png", optimizeForSpeed=False)
                with open(f"{folder}/{name}.png", "wb") as file:
                    file.write(base64.b64decode(shot["data"]))
                print(f"{folder}/{name}.png")
        finally:
            browser.end()


main()
