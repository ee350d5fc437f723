package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/blueguy23/ghostrunner/cmd/internal/clitest"
	"github.com/blueguy23/ghostrunner/internal/remedy"
)

// The widths that the page is looked at with.
const desktopWidth, phoneWidth = 1200, 360

// browser is a headless Chromium that shows the page of a remediator.
type browser struct {
	t   *testing.T
	ctx context.Context
	url string
}

func openBrowser(t *testing.T, url string) *browser {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		chromium, err = exec.LookPath("google-chrome")
	}
	if err != nil {
		t.Fatal("this test looks at the page with a real browser: apt-get install chromium")
	}
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium), chromedp.NoSandbox)...) // root, and who is in a container, has no sandbox
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx, url: url}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(desktopWidth, 900)); err != nil { // the browser lives as long as this context
		t.Fatal(err)
	}
	return b
}

// see runs one action and returns what came of it.
func see[T any](b *browser, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, clitest.WaitLimit)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

// open shows the page afresh.
func (b *browser) open() { b.t.Helper(); see(b, chromedp.Navigate(b.url+"/")) }

// text is what the first element of a selector says.
func (b *browser) text(selector string) string {
	b.t.Helper()
	return see(b, chromedp.Text(chromedp.CSS(selector)))
}

// count is how many elements a selector finds.
func (b *browser) count(selector string) int {
	b.t.Helper()
	return len(see(b, chromedp.Nodes(chromedp.CSSAll(selector), chromedp.AtLeast(0))))
}

// write types into a field.
func (b *browser) write(selector, text string) {
	b.t.Helper()
	see(b, chromedp.SendKeys(chromedp.CSS(selector), text))
}

// press clicks and waits for what comes of it to say something.
func (b *browser) press(selector, in, says string) {
	b.t.Helper()
	see(b, chromedp.Click(chromedp.CSS(selector)))
	said, found := "", false
	defer func() {
		if !found {
			b.t.Logf("%s said %q last", in, said)
		}
	}()
	clitest.Until(b.t, fmt.Sprintf("%s to say %q", in, says), func() bool {
		ctx, cancel := context.WithTimeout(b.ctx, time.Second) // the page may be about to change
		defer cancel()
		var err error
		said, err = chromedp.Run(ctx, chromedp.Text(chromedp.CSS(in)))
		found = err == nil && strings.Contains(said, says)
		return found
	})
}

// scripts lets the page run scripts, or not.
func (b *browser) scripts(on bool) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on}); err != nil {
		b.t.Fatal(err)
	}
}

// prefers sets the color scheme.
func (b *browser) prefers(scheme string) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	}); err != nil {
		b.t.Fatal(err)
	}
}

// picture keeps a screenshot of the whole page in .cache/screenshots of the repository.
func (b *browser) picture(name string) {
	b.t.Helper()
	png := see(b, chromedp.FullScreenshot(100))
	dir := filepath.Join("..", "..", ".cache", "screenshots")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "remediator-"+name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// unreadable returns every text whose contrast to what lies behind it is below 4.5 (WCAG 2.1,
// 1.4.3), every short one that is broken over lines, and says if the page is wider than the screen.
const unreadable = `(() => {
	const parse = c => (c.match(/[\d.]+/g) || []).map(Number);
	const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126*r + .7152*g + .0722*b; };
	const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] === 1) return c.slice(0, 3); } return [255, 255, 255]; };
	const bad = [];
	for (const e of document.body.querySelectorAll('*')) {
		if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility()) continue;
		const a = light(parse(getComputedStyle(e).color).slice(0, 3)), b = light(behind(e));
		const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
		if (ratio < 4.5) bad.push(e.tagName + '.' + e.className + ' "' + e.textContent.trim().slice(0, 30) + '": ' + ratio.toFixed(2));
	}
	for (const e of document.body.querySelectorAll('time, h1, button, nav a, .pill'))
		if (e.checkVisibility() && (e.getClientRects().length > 1 || e.offsetHeight > 60)) bad.push('broken over lines: ' + e.textContent);
	const wide = document.documentElement.scrollWidth;
	if (wide > WIDTH) bad.push('the page is ' + wide + ' pixels wide');
	return bad;
})()`

// looks checks how the page looks, and keeps a picture of it.
func (b *browser) looks(name string, width int) {
	b.t.Helper()
	for _, s := range see(b, chromedp.Evaluate[[]string](strings.ReplaceAll(unreadable, "WIDTH", strconv.Itoa(width)))) {
		b.t.Errorf("%s: %s", name, s)
	}
	b.picture(name)
}

// TestPage looks at the page of the real program with a real browser, without scripts, and presses
// every button of it.
func TestPage(t *testing.T) {
	w := newWorld(t)
	image := w.image(w.label, "")
	labels := func(name string) []string { return slotLabels(name, "restart,backoff") }
	w.run(image, w.label, labels("ci-runner-1"))
	w.run(image, w.label, labels("ci-runner-2"), "busy")
	backedOff := w.run(image, w.label, labels("ci-runner-3"))
	w.run(image, w.label, []string{"ghostrunner.role=service", "ghostrunner.heal=restart"})
	p := w.serve()
	p.alert("GhostrunnerRunnerRetryLoop", "restart", map[string]string{"runner": "ci-runner-1", "severity": "warning", "counts_as": "watchdog_fire"})
	p.outcome("restart", "ci-runner-1", "completed")
	p.alert("GhostrunnerRunnerOffline", "restart", map[string]string{"runner": "ci-runner-2", "severity": "warning"})
	p.outcome("restart", "ci-runner-2", "refused busy")
	p.alert("GhostrunnerWatchdogStorm", "backoff", map[string]string{"runner": "ci-runner-3", "severity": "critical"})
	p.outcome("backoff", "ci-runner-3", "completed")
	const evil = `<script>document.title="evil"</script><img src=x onerror=alert(1)>`
	p.alert(evil, "restart", map[string]string{"runner": "\x1b[31m" + evil, "severity": `"><b>`})
	p.outcome("restart", "", "refused no_target")
	p.alert("GhostrunnerWatchdog", "", map[string]string{"heartbeat": "true"})
	status := func() (s remedy.Status) {
		t.Helper()
		code, body := p.ask(http.MethodGet, "/api/v1/status", nil)
		if err := json.Unmarshal(body, &s); err != nil {
			t.Fatal(code, err)
		}
		return s
	}

	b := openBrowser(t, p.url)
	b.scripts(false)
	b.open()
	for selector, says := range map[string][]string{
		"#state":    {"Healing", "1 container is on the way back", "Docker\nanswers", "Sign in"},
		"#firing":   {"GhostrunnerRunnerOffline · ci-runner-2", "refused · busy", "GhostrunnerWatchdogStorm", evil},
		"#targets":  {"ci-runner-1", "ci-runner-2", "ci-runner-3", "1 restart", "open, ends in 9m", "service", "restart, backoff"},
		"#attempts": {"restart ci-runner-1", "completed", "no target", "GhostrunnerRunnerRetryLoop"},
	} {
		text := b.text(selector)
		for _, s := range says {
			if !strings.Contains(text, s) {
				t.Errorf("%s does not say %q:\n%s", selector, s, text)
			}
		}
	}
	if n := b.count("script, img, b:not(li b), #buttons, .reset"); n > 0 {
		t.Errorf("%d elements that must not be there: an alert's own, or buttons for a stranger", n)
	}
	// An attempt opens without a script, and shows what was seen and what each guard said.
	b.press("#attempts li:last-child summary", "#attempts li:last-child .more", "What the guards said")
	if text := b.text("#attempts li:last-child .more"); !strings.Contains(text, "sent SIGTERM") || !strings.Contains(text, "✓busy") {
		t.Errorf("evidence: %s", text)
	}

	b.press("#signin summary", "#signin", "With the token")
	b.write("input[name=token]", "wrong")
	b.press("#signin button", "#signin", "That is not the token.")
	b.picture("signin")
	token, err := os.ReadFile(w.token)
	if err != nil {
		t.Fatal(err)
	}
	b.write("input[name=token]", strings.TrimSpace(string(token)))
	b.press("#signin button", "nav", "Sign out")

	b.press("#pause", "#state", "Paused for another")
	if s := status(); !s.Paused || s.PausedUntil.IsZero() {
		t.Errorf("after Pause: %+v", s)
	}
	b.picture("paused")
	b.press("#resume", "#state", "Healing")
	if status().Paused {
		t.Error("still paused after Resume")
	}
	b.press(".reset", "#targets", "on probation")
	clitest.Until(t, "the runner that was backed off to run", func() bool { return w.inspect(backedOff, "{{.State.Running}}") == "true" })

	// A page on another port of this machine gets the cookie sent along, and nothing done with it.
	var cookie string
	attacker := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		cookie = r.Header.Get("Cookie")
		rw.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(rw, `<!doctype html><form method=post action="%s/api/v1/pause"><button>Win</button></form>`, p.url)
	}))
	t.Cleanup(attacker.Close)
	see(b, chromedp.Navigate(attacker.URL))
	b.press("button", "body", "page of another server")
	if !strings.Contains(cookie, "ghostrunner-") {
		t.Errorf("the attack proves nothing: without a cookie (%q)", cookie)
	}
	if status().Paused {
		t.Error("another page pressed the button")
	}

	b.open()
	b.scripts(true) // for the eyes of this test
	b.open()
	b.looks("light", desktopWidth)
	b.prefers("dark")
	b.looks("dark", desktopWidth)
	see(b, chromedp.EmulateViewport(phoneWidth, 740, chromedp.EmulateMobile, chromedp.EmulateTouch))
	b.press("#attempts li:last-child summary", "#attempts li:last-child .more", "What the guards said")
	b.looks("phone-dark", phoneWidth)
	b.prefers("light")
	b.looks("phone-light", phoneWidth)
	small := see(b, chromedp.Evaluate[[]string](`[...document.querySelectorAll('main button, select')].filter(e => e.getBoundingClientRect().height < 44).map(e => e.textContent)`))
	if len(small) > 0 {
		t.Errorf("too small for a thumb: %q", small)
	}
	b.press("nav button", "#signin", "Sign in")
	if n := b.count("#buttons"); n != 0 {
		t.Error("buttons after signing out")
	}
}
