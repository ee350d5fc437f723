package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// Bearer passes on only requests with "Authorization: Bearer TOKEN" (RFC 6750). It calls token for
// each request, so a token file can be replaced while the program runs.
//
// A wrong or missing token is 401 with WWW-Authenticate. A token that cannot be read, or is empty,
// is 500: the request may be right, and Alertmanager repeats only what failed with 5xx. token
// should log its own error; the client does not get it.
func Bearer(token func() (string, error), next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want, err := token()
		if err != nil || want == "" {
			text(w, http.StatusInternalServerError, tokenUnreadable)
			return
		}
		got, ok := bearerToken(r.Header.Get("Authorization"))
		if !same(got, want) || !ok {
			w.Header().Set("WWW-Authenticate", "Bearer")
			text(w, http.StatusUnauthorized, "This needs the header \"Authorization: Bearer\" with the right token.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

const tokenUnreadable = "The token to compare with cannot be read; see the log of this program."

// same compares in a time that depends on neither content nor length.
func same(got, want string) bool {
	gotSum, wantSum := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(gotSum[:], wantSum[:]) == 1
}

// bearerToken returns the token of an Authorization header. The scheme's case does not matter (RFC
// 9110, 11.1).
func bearerToken(header string) (string, bool) {
	scheme, token, ok := strings.Cut(header, " ")
	return strings.TrimSpace(token), ok && strings.EqualFold(scheme, "Bearer")
}
