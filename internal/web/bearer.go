package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// Bearer lets a request pass only with "Authorization: Bearer TOKEN" (RFC 6750), TOKEN being what token returns now;
// a token file that is re-read there can be exchanged while the program runs.
//
// It fails closed. A wrong or missing token is 401 with WWW-Authenticate. A token that cannot be read, or is empty, is
// 500: the caller may be right, and Alertmanager repeats only what failed with 5xx. The cause is token's to log; the
// client is not told.
func Bearer(token func() (string, error), next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want, err := token()
		if err != nil || want == "" {
			text(w, http.StatusInternalServerError, unreadable)
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

const unreadable = "The token to compare with cannot be read; see the log of this program."

// same compares in a time that tells neither content nor length.
func same(got, want string) bool {
	gotSum, wantSum := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(gotSum[:], wantSum[:]) == 1
}

// bearerToken takes the credentials out of an Authorization header; the scheme's case does not matter (RFC 9110, 11.1).
func bearerToken(header string) (string, bool) {
	scheme, token, ok := strings.Cut(header, " ")
	return strings.TrimSpace(token), ok && strings.EqualFold(scheme, "Bearer")
}
