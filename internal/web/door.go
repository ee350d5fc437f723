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
	maxSignIn     = 4 << 10
)

// Door is one token and the two ways in: a program shows it with each request ([Bearer]), a person shows it once and gets
// a cookie.
//
// The cookie does not hold the token and nothing is remembered here: it is the time of its own end, signed with the token,
// so it outlives this program and ends early if the token is exchanged.
//
// A browser sends a cookie along whatever page asks for it, also a page on another port of this machine, which is the same
// site for SameSite. What comes with a cookie must therefore come from a page of this very server.
type Door struct {
	token func() (string, error)
	cross *http.CrossOriginProtection
}

// NewDoor returns the door that token opens. It is asked for each request, as by [Bearer].
func NewDoor(token func() (string, error)) *Door {
	return &Door{token: token, cross: http.NewCrossOriginProtection()}
}

// Guard lets those in who show the token or a cookie. A form without either is answered with the page, which asks for the
// token; everything else as [Bearer] does.
func (d *Door) Guard(next http.Handler) http.Handler {
	programs := Bearer(d.token, next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, program := bearerToken(r.Header.Get("Authorization"))
		signedIn := !program && d.SignedIn(r)
		switch {
		case !signedIn && (program || !isForm(r)):
			programs.ServeHTTP(w, r)
		case d.cross.Check(r) != nil:
			text(w, http.StatusForbidden, "This came from a page of another server, which must not press the buttons of this one.")
		case !signedIn:
			http.Redirect(w, r, "/?signin=again", http.StatusSeeOther)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// Routes adds the two buttons of the door itself.
func (d *Door) Routes(mux *http.ServeMux) {
	mux.Handle("POST /signin", d.cross.Handler(http.HandlerFunc(d.signIn)))
	mux.Handle("POST /signout", d.cross.Handler(http.HandlerFunc(d.signOut)))
}

// SignedIn reports whether a request comes with a cookie of ours that is still good.
func (d *Door) SignedIn(r *http.Request) bool {
	token, err := d.token()
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

func (d *Door) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxSignIn)
	token, err := d.token()
	if err != nil || token == "" {
		text(w, http.StatusInternalServerError, unreadable)
		return
	}
	if !same(r.PostFormValue("token"), token) {
		http.Redirect(w, r, "/?signin=wrong", http.StatusSeeOther)
		return
	}
	end := time.Now().Add(sessionLength)
	http.SetCookie(w, d.cookie(r, token, signed(token, strconv.FormatInt(end.Unix(), 10)), int(sessionLength.Seconds())))
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (d *Door) signOut(w http.ResponseWriter, r *http.Request) {
	if token, err := d.token(); err == nil {
		http.SetCookie(w, d.cookie(r, token, "", -1))
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (d *Door) cookie(r *http.Request, token, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: cookieName(token), Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
	}
}

// cookieName differs between servers with different tokens: cookies are shared by all ports of a host, and a demo beside
// the real thing must not sign anybody out.
func cookieName(token string) string { return "ghostrunner-" + mac(token, "cookie name")[:8] }

// signed is the value of a cookie that ends then.
func signed(token, end string) string { return end + "." + mac(token, "session until "+end) }

func mac(token, message string) string {
	h := hmac.New(sha256.New, []byte(token))
	h.Write([]byte(message))
	return hex.EncodeToString(h.Sum(nil))
}

// isForm reports whether a browser's form made the request.
func isForm(r *http.Request) bool {
	typ, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && typ == "application/x-www-form-urlencoded"
}
