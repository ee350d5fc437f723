package httpapi

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/blueguy23/ghostrunner/internal/remedy"
	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

// pagePolicy lets the page have its one style sheet, its icon and its own forms, and nothing else:
// no script at all.
var pagePolicy = func() string {
	sum := sha256.Sum256([]byte(pageCSS))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}()

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"css":   func() template.CSS { return template.CSS(pageCSS) },
	"path":  url.PathEscape,
	"list":  func(s []string) string { return strings.Join(s, ", ") },
	"took":  func(from, to time.Time) string { return span(to.Sub(from)) },
	"words": func(s any) string { return strings.ReplaceAll(fmt.Sprint(s), "_", " ") },
}).Parse(pageHTML))

const pageAttempts = 30

type view struct {
	Now      time.Time
	Status   remedy.Status
	Attempts []journal.Record
	// SignedIn shows the buttons, SignIn says why it is asked again.
	SignedIn bool
	SignIn   string
}

// signInWords says what came of an attempt to sign in, by the value of the parameter signin.
var signInWords = map[string]string{
	"wrong": "That is not the token.",
	"again": "Nothing was done: your session has ended, or never began. Sign in and press the button again.",
}

// Page is the status page: what a person wants to know at a glance, and for those whom signedIn
// knows the buttons of the API. It works without scripts. Reading it needs no token, as /metrics
// needs none.
func (s *Server) Page(signedIn func(*http.Request) bool) http.Handler {
	return limited(s.requests, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		v := view{
			Now: time.Now(), Status: s.remediator.Status(), Attempts: s.remediator.Attempts(time.Time{}, pageAttempts),
			SignedIn: signedIn(req), SignIn: signInWords[req.URL.Query().Get("signin")],
		}
		v.Status.Targets = s.remediator.Targets(req.Context())
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", pagePolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin") // the forms must name their origin
		h.Set("Cache-Control", "no-store")
		_ = pageTemplate.Execute(w, v) // an error means that the client went away
	}))
}

// headline is the state of everything in a few words: the worst that can be said of it.
type headline struct{ Tone, Title, Text string }

// Headline is shown on top.
func (v view) Headline() headline {
	s := v.Status
	switch {
	case !s.Journal:
		return headline{"bad", "Nothing can be accepted", s.Reason}
	case !s.DockerUp:
		return headline{"bad", "Docker does not answer", "Alerts are refused until it does."}
	case s.Paused && !s.PausedUntil.IsZero():
		return headline{"wait", "Paused for another " + span(s.PausedUntil.Sub(v.Now)), "Every alert is refused. What was stopped is started all the same."}
	case s.Paused:
		return headline{"wait", "Paused until resumed", "Every alert is refused. What was stopped is started all the same."}
	case s.Silent:
		return headline{"bad", "No heartbeat", s.Reason + ". Meanwhile containers that Docker calls unhealthy are restarted."}
	case !s.WindowOpens.IsZero():
		return headline{"wait", "Outside of the maintenance window", "Every alert is refused until it opens, in " + span(s.WindowOpens.Sub(v.Now)) + "."}
	case s.DryRun:
		return headline{"wait", "Dry run", "Everything is decided and written down, and nothing is done."}
	case len(s.Unfinished) > 0:
		return headline{"busy", "Healing", count(len(s.Unfinished), "container is", "containers are") + " on the way back."}
	case len(s.Firing) > 0:
		return headline{"wait", count(len(s.Firing), "alert fires", "alerts fire"), "What was decided about each stands below."}
	case s.Heartbeat.IsZero():
		return headline{"wait", "Waiting for a heartbeat", "Nothing has been heard from Alertmanager since the start."}
	default:
		return headline{"good", "All quiet", "Nothing fires that asks for an action."}
	}
}

// Unfinished is what was begun on a target and is not over.
func (v view) Unfinished(target string) *remedy.Unfinished {
	for _, u := range v.Status.Unfinished {
		if u.Target == target {
			return &u
		}
	}
	return nil
}

// When is a time, and how long ago or ahead it is.
func (v view) When(t time.Time) when {
	switch d := v.Now.Sub(t); {
	case t.IsZero():
		return when{Near: "never"}
	case d < 0:
		return when{t.UTC(), "in " + span(-d.Truncate(time.Second))}
	case d < time.Second:
		return when{t.UTC(), "just now"}
	default:
		return when{t.UTC(), span(d.Truncate(time.Second)) + " ago"}
	}
}

type when struct {
	At   time.Time
	Near string
}

func span(d time.Duration) string {
	if d = max(d, 0); d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return model.Duration(d.Round(time.Second)).String()
}

func count(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}
