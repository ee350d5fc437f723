package web

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// visitor is a browser: it keeps the cookies.
type visitor struct {
	h       http.Handler
	cookies []*http.Cookie
	host    string
}

// submit sends a form, or with "" a GET, with the headers given.
func (v *visitor) submit(t *testing.T, path, form string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	method := http.MethodPost
	if form == "" {
		method = http.MethodGet
	}
	req := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(form))
	req.Host = v.host
	if form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	for _, c := range v.cookies {
		req.AddCookie(c)
	}
	w := httptest.NewRecorder()
	v.h.ServeHTTP(w, req)
	for _, c := range w.Result().Cookies() {
		v.cookies = nil
		if c.MaxAge > 0 {
			v.cookies = []*http.Cookie{c}
		}
	}
	return w
}

func TestSessionAuth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token, broken, pressed := "a-long-token", false, 0
		auth := NewSessionAuth(func() (string, error) {
			if broken {
				return "", errors.New("open /run/secrets/t: denied")
			}
			return token, nil
		})
		mux := http.NewServeMux()
		auth.Routes(mux)
		mux.Handle("/press", auth.Guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { pressed++ })))
		v := &visitor{h: mux, host: "laptop:10069"}
		expect := func(what string, w *httptest.ResponseRecorder, status int, location string, presses int) {
			t.Helper()
			if w.Code != status || w.Header().Get("Location") != location || pressed != presses {
				t.Errorf("%s: %d to %q, pressed %d times; want %d to %q, %d", what, w.Code, w.Header().Get("Location"), pressed, status, location, presses)
			}
			if strings.Contains(w.Body.String(), token) || strings.Contains(strings.Join(w.Header().Values("Set-Cookie"), ""), token) {
				t.Errorf("%s: the answer holds the token", what)
			}
			pressed = 0
		}
		expect("stranger's form", v.submit(t, "/press", "x=1"), 303, "/?signin=again", 0)
		expect("stranger", v.submit(t, "/press", ""), 401, "", 0)
		expect("wrong token", v.submit(t, "/signin", "token=b"), 303, "/?signin=wrong", 0)
		expect("no token", v.submit(t, "/signin", "token="), 303, "/?signin=wrong", 0)
		expect("token in the address", v.submit(t, "/signin?token="+token, "x=1"), 303, "/?signin=wrong", 0)
		expect("endless form", v.submit(t, "/signin", "token="+token+strings.Repeat("x", maxSignIn)), 303, "/?signin=wrong", 0)
		if len(v.cookies) > 0 {
			t.Fatalf("a cookie for a stranger: %v", v.cookies)
		}
		expect("right token", v.submit(t, "/signin", "token="+url.QueryEscape(token)), 303, "/", 0)
		if c := v.cookies[0]; !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.MaxAge != int(sessionLength.Seconds()) || c.Path != "/" {
			t.Errorf("cookie %+v", c)
		}
		expect("signed in", v.submit(t, "/press", "x=1"), 200, "", 1)
		expect("signed in, own page", v.submit(t, "/press", "x=1", "Sec-Fetch-Site", "same-origin"), 200, "", 1)
		expect("signed in, own page, old browser", v.submit(t, "/press", "x=1", "Origin", "http://laptop:10069"), 200, "", 1)
		for name, header := range map[string][]string{
			"another site":                  {"Sec-Fetch-Site", "cross-site"},
			"another port":                  {"Sec-Fetch-Site", "same-site"},
			"another site, old browser":     {"Origin", "http://evil.example"},
			"another port, old browser":     {"Origin", "http://laptop:8080"},
			"hidden origin, old browser":    {"Origin", "null"},
			"another site, no type of form": {"Sec-Fetch-Site", "cross-site", "Content-Type", "text/plain"},
		} {
			expect(name, v.submit(t, "/press", "x=1", header...), 403, "", 0)
			if w := v.submit(t, "/signout", "x=1", header...); w.Code != 403 {
				t.Errorf("%s signs out: %d", name, w.Code)
			}
		}
		expect("wrong program with a cookie", v.submit(t, "/press", "x=1", "Authorization", "Bearer b"), 401, "", 0)
		expect("right program", (&visitor{h: mux}).submit(t, "/press", "x=1", "Authorization", "Bearer "+token), 200, "", 1)
		expect("behind basic authentication", v.submit(t, "/press", "x=1", "Authorization", "Basic YTpi"), 200, "", 1)

		good := v.cookies[0]
		end, sum, _ := strings.Cut(good.Value, ".")
		for name, value := range map[string]string{
			"longer": end + "0." + sum, "no signature": end + ".", "nothing": "", "no end": "." + sum, "other signature": end + "." + strings.Repeat("0", len(sum)),
		} {
			v.cookies = []*http.Cookie{{Name: good.Name, Value: value}}
			expect(name, v.submit(t, "/press", "x=1"), 303, "/?signin=again", 0)
		}
		v.cookies = []*http.Cookie{good}
		broken = true
		expect("token unreadable", v.submit(t, "/press", "x=1"), 303, "/?signin=again", 0)
		expect("token unreadable, sign in", v.submit(t, "/signin", "token="), 500, "", 0)
		broken = false
		token = "another-token"
		expect("token exchanged", v.submit(t, "/press", "x=1"), 303, "/?signin=again", 0)
		token = "a-long-token"
		time.Sleep(sessionLength - time.Second)
		expect("late", v.submit(t, "/press", "x=1"), 200, "", 1)
		time.Sleep(time.Second)
		expect("too late", v.submit(t, "/press", "x=1"), 303, "/?signin=again", 0)
		v.submit(t, "/signin", "token="+token)
		expect("sign out", v.submit(t, "/signout", "x=1"), 303, "/", 0)
		expect("signed out", v.submit(t, "/press", "x=1"), 303, "/?signin=again", 0)
	})
}

// FuzzSessionAuth sends arbitrary cookies, forms and headers. Without the token nothing is let
// through.
func FuzzSessionAuth(f *testing.F) {
	const token = "a-long-token"
	auth := NewSessionAuth(func() (string, error) { return token, nil })
	mux := http.NewServeMux()
	auth.Routes(mux)
	mux.Handle("/press", auth.Guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })))
	far := "99999999999"
	for _, s := range []string{"", far, far + ".", far + "." + mac("another", "session until "+far), ".", "-1.x", "token=", "token=a&token=" + token + "x", "Bearer ", "Basic Og==", "%zz"} {
		f.Add(s, s, s)
	}
	f.Fuzz(func(t *testing.T, cookie, form, authorization string) {
		if strings.Contains(cookie+form+authorization, token) {
			return // the fuzzer knows the token
		}
		for _, path := range []string{"/press", "/signin", "/signout"} {
			req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(form))
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header.Set("Authorization", authorization)
			req.Header.Set("Cookie", cookieName(token)+"="+cookie)
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, req)
			for _, c := range w.Result().Cookies() {
				if c.MaxAge >= 0 {
					t.Errorf("%s gave a cookie", path)
				}
			}
			if w.Code == http.StatusTeapot || w.Code >= 500 {
				t.Errorf("%s: %d", path, w.Code)
			}
		}
	})
}
