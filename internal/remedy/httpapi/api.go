package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/blueguy23/ghostrunner/internal/remedy"
	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
)

// Bounds of the API.
const (
	defaultAttempts = 50
	maxExplain      = 1000
	explainTimeout  = 30 * time.Second
)

func (s *Server) getAttempts(w http.ResponseWriter, req *http.Request) {
	limit, since := defaultAttempts, time.Time{}
	if !parameters(w, req, map[string]func(string) error{
		"limit": func(v string) error {
			n, err := strconv.Atoi(v)
			if err != nil || n < 1 || n > remedy.MaxHistory {
				return fmt.Errorf("want a number from 1 to %d", remedy.MaxHistory)
			}
			limit = n
			return nil
		},
		"since": func(v string) (err error) {
			since, err = remedy.ParseSince(v, time.Now())
			return err
		},
	}) {
		return
	}
	reply(w, s.remediator.Attempts(since, limit))
}

// maxForm bounds the body of a request that has only parameters.
const maxForm = 4 << 10

// parameters reads the parameters of a request, from its query or its form, each at most once. One
// that is unknown, or cannot be read, is answered with its name. An empty one counts as left out.
func parameters(w http.ResponseWriter, req *http.Request, known map[string]func(string) error) bool {
	req.Body = http.MaxBytesReader(w, req.Body, maxForm)
	if err := req.ParseForm(); err != nil {
		http.Error(w, "parameters: "+journal.Clean(err.Error(), 160), http.StatusBadRequest)
		return false
	}
	for _, name := range slices.Sorted(maps.Keys(req.Form)) {
		values, parse := req.Form[name], known[name]
		err := fmt.Errorf("no such parameter; known are %q", slices.Sorted(maps.Keys(known)))
		switch {
		case parse == nil:
		case len(values) > 1:
			err = errors.New("is given more than once")
		case values[0] == "":
			err = nil
		default:
			err = parse(values[0])
		}
		if err != nil {
			http.Error(w, journal.Clean(name, 32)+": "+err.Error(), http.StatusBadRequest)
			return false
		}
	}
	return true
}

func (s *Server) getBreakers(w http.ResponseWriter, req *http.Request) {
	if parameters(w, req, nil) {
		reply(w, s.remediator.Breakers())
	}
}

func (s *Server) getStatus(w http.ResponseWriter, req *http.Request) {
	if !parameters(w, req, nil) {
		return
	}
	status := s.remediator.Status()
	status.Targets = s.remediator.Targets(req.Context())
	reply(w, status)
}

func (s *Server) postReset(w http.ResponseWriter, req *http.Request) {
	if !parameters(w, req, nil) {
		return
	}
	s.respond(w, req, s.remediator.Reset(req.PathValue("runner")), func() any { return s.remediator.Breakers() })
}

func (s *Server) postPause(w http.ResponseWriter, req *http.Request) {
	var length time.Duration
	if !parameters(w, req, map[string]func(string) error{"for": func(v string) (err error) {
		length, err = remedy.ParsePause(v)
		return err
	}}) {
		return
	}
	s.respond(w, req, s.remediator.Pause(length), func() any { return s.remediator.Status() })
}

func (s *Server) postResume(w http.ResponseWriter, req *http.Request) {
	if parameters(w, req, nil) {
		s.respond(w, req, s.remediator.Resume(), func() any { return s.remediator.Status() })
	}
}

// respond answers a request that changed something: a form with the page, everything else with
// JSON.
func (s *Server) respond(w http.ResponseWriter, req *http.Request, err error, then func() any) {
	switch {
	case errors.Is(err, remedy.ErrUnknownRunner):
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		unavailable(w, err)
	case fromForm(req):
		http.Redirect(w, req, "/", http.StatusSeeOther)
	default:
		reply(w, then())
	}
}

// fromForm reports whether a browser's form made the request.
func fromForm(req *http.Request) bool {
	typ, _, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	return err == nil && typ == "application/x-www-form-urlencoded"
}

func (s *Server) postExplain(w http.ResponseWriter, req *http.Request) {
	if req.URL.RawQuery != "" {
		http.Error(w, "parameters: there are none; the payload is the body", http.StatusBadRequest)
		return
	}
	m, ok := s.readPayload(w, req)
	if !ok {
		return
	}
	if len(m.Alerts) > maxExplain {
		http.Error(w, "alerts: more than "+strconv.Itoa(maxExplain), http.StatusRequestEntityTooLarge)
		return
	}
	ctx, cancel := context.WithTimeout(req.Context(), explainTimeout)
	defer cancel()
	reply(w, s.remediator.Explain(ctx, m.notices()))
}

// reply answers with JSON that no browser mistakes for a page.
func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // an error means that the client went away
}
