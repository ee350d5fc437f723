package web

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	sessionLength = 12 * time.Hour
	maxSignIn     = 4 << 10 // bytes of the form
)

// SessionAuth authenticates by one token: a program sends it with each request ([Bearer]), a person
// enters it once and gets a cookie.
//
// The cookie is its own expiry time, signed with the token. It does not contain the token, and the
// server keeps no sessions, so a session survives a restart and ends when the token is replaced.
//
// A browser sends the cookie for any page that asks, also for one on another port of this machine,
// which counts as the same site. So a request with a cookie must come from a page of this server.
type SessionAuth struct {
	token func() (string, error)
	cross *http.CrossOriginProtection
}

// NewSessionAuth returns a SessionAuth. It calls token for each request, as [Bearer] does.
func NewSessionAuth(token func() (string, error)) *SessionAuth {
	return &SessionAuth{token: token, cross: http.NewCrossOriginProtection()}
}

// Guard passes on requests with the token or a valid cookie. A form without either is redirected to
// the page, which asks for the token; any other request gets the answer of [Bearer].
func (a *SessionAuth) Guard(next http.Handler) http.Handler {
	bearer := Bearer(a.token, next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, hasToken := bearerToken(r.Header.Get("Authorization"))
		signedIn := !hasToken && a.SignedIn(r)
		switch {
		case !signedIn && (hasToken || !isForm(r)):
			bearer.ServeHTTP(w, r)
		case a.cross.Check(r) != nil:
			text(w, http.StatusForbidden, "This request came from a page of another server.")
		case !signedIn:
			http.Redirect(w, r, "/?signin=again", http.StatusSeeOther)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// Routes adds POST /signin and /signout.
func (a *SessionAuth) Routes(mux *http.ServeMux) {
	mux.Handle("POST /signin", a.cross.Handler(http.HandlerFunc(a.signIn)))
	mux.Handle("POST /signout", a.cross.Handler(http.HandlerFunc(a.signOut)))
}

// SignedIn reports whether a request has a valid cookie.
func (a *SessionAuth) SignedIn(r *http.Request) bool {
	token, err := a.token()
	if err != nil || token == "" {
		return false
	}
	cookie, err := r.Cookie(cookieName(token))
	if err != nil {
		return false
	}
	end, _, _ := strings.Cut(cookie.Value, ".")
	at, err := strconv.ParseInt(end, 10, 64)
	return err == nil && time.Now().Before(time.Unix(at, 0)) && hmac.Equal([]byte(cookie.Value), []byte(signed(token, end)))
}

func (a *SessionAuth) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxSignIn)
	token, err := a.token()
	if err != nil || token == "" {
		text(w, http.StatusInternalServerError, tokenUnreadable)
		return
	}
	if !same(r.PostFormValue("token"), token) {
		http.Redirect(w, r, "/?signin=wrong", http.StatusSeeOther)
		return
	}
	end := time.Now().Add(sessionLength)
	http.SetCookie(w, newCookie(r, token, signed(token, strconv.FormatInt(end.Unix(), 10)), int(sessionLength.Seconds())))
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (a *SessionAuth) signOut(w http.ResponseWriter, r *http.Request) {
	if token, err := a.token(); err == nil {
		http.SetCookie(w, newCookie(r, token, "", -1))
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func newCookie(r *http.Request, token, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: cookieName(token), Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
	}
}

// cookieName differs between servers with different tokens. All ports of a host share cookies, and
// a demo on another port must not sign anyone out.
func cookieName(token string) string { return "ghostrunner-" + mac(token, "cookie name")[:8] }

func signed(token, end string) string { return end + "." + mac(token, "session until "+end) }

func mac(token, message string) string {
	h := hmac.New(sha256.New, []byte(token))
	h.Write([]byte(message))
	return hex.EncodeToString(h.Sum(nil))
}

func isForm(r *http.Request) bool {
	typ, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && typ == "application/x-www-form-urlencoded"
}
