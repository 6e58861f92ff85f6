package secure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/flip-ha/flip/fsm"
)

// CertError is what is wrong with certificates that the key does not make, and
// what to do about it.
type CertError struct {
	What, Do string
	Err      error // the cause; nil: What says all
}

// Error implements error.
func (e *CertError) Error() string {
	if e.Err == nil {
		return e.What
	}
	return e.What + ": " + e.Err.Error()
}

// Unwrap is the cause.
func (e *CertError) Unwrap() error { return e.Err }

// Hint is what to do about it.
func (e *CertError) Hint() string { return e.Do }

// day is how a certificate's dates are shown.
const day = "2006-01-02 15:04 MST"

// title is how people know a certificate: what it names, or else its number.
func title(cert *x509.Certificate) string {
	names := namesOf(cert)
	names = append(names, cert.EmailAddresses...)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	for _, u := range cert.URIs {
		names = append(names, u.String())
	}
	for i, name := range names {
		names[i] = legible(name)
	}
	switch {
	case len(names) == 0:
		return fmt.Sprintf("number %x", cert.SerialNumber)
	case len(names) > 3:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), len(names)-3)
	default:
		return strings.Join(names, ", ")
	}
}

// legible is a name out of somebody's certificate as a terminal may have it.
func legible(name string) string {
	const most = 64
	if len(name) > most {
		name = name[:most] + "…"
	}
	if strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(name)
	}
	return name
}

// namesOf are the names that a member may have with a certificate: its DNS names
// and its common name.
func namesOf(cert *x509.Certificate) []string {
	names := append([]string(nil), cert.DNSNames...)
	for _, name := range names {
		if name == cert.Subject.CommonName {
			return names
		}
	}
	if cert.Subject.CommonName != "" {
		names = append(names, cert.Subject.CommonName)
	}
	return names
}

// isNamed reports whether a certificate is that of a member. Wild cards name
// nobody: any node could be any other.
func isNamed(cert *x509.Certificate, name fsm.MemberID) bool {
	for _, have := range namesOf(cert) {
		if have == string(name) {
			return true
		}
	}
	return false
}

// outOfTime says that a certificate does not hold at a time; nil: it does.
func outOfTime(cert *x509.Certificate, at time.Time) *CertError {
	switch {
	case at.After(cert.NotAfter):
		return &CertError{
			What: fmt.Sprintf("the certificate of %s has expired on %s", title(cert), cert.NotAfter.UTC().Format(day)),
			Do:   "renew it: flip reads its files again within seconds",
		}
	case at.Before(cert.NotBefore):
		return &CertError{
			What: fmt.Sprintf("the certificate of %s holds from %s on, and here it is %s", title(cert), cert.NotBefore.UTC().Format(day), at.UTC().Format(day)),
			Do:   "set the clock: `date`, `timedatectl`",
		}
	default:
		return nil
	}
}

// unverified puts into words why a certificate was not taken.
func unverified(cert *x509.Certificate, err error, at time.Time) *CertError {
	if late := outOfTime(cert, at); late != nil {
		return late
	}
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var other x509.HostnameError
	switch {
	case errors.As(err, &other): // only certificates that the key makes are asked for such a name
		return &CertError{
			What: fmt.Sprintf("it shows a certificate of %s by %q, and not one that the key makes", title(cert), legible(cert.Issuer.String())),
			Do:   "if that is a flip with `tls` in its file, this one needs `tls` too; else another program has that port",
		}
	case madeByKey(cert):
		return &CertError{
			What: "it shows a certificate that the key makes, and not one of the authority in `ca`",
			Do:   "give that node `tls` in its file too; or let this one take both for a while: \"accept_key\": true",
		}
	case errors.As(err, &authority):
		return &CertError{
			What: fmt.Sprintf("the certificate of %s is issued by %q, which is not among the authorities", title(cert), legible(cert.Issuer.String())),
			Do:   "put that authority into the file that `ca` names, or the intermediate certificates behind the one in the file that `cert` names",
		}
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return &CertError{
			What: fmt.Sprintf("the certificate of %s is not for this use", title(cert)),
			Do:   "issue it with the extended key usages serverAuth and clientAuth: a member is both",
		}
	default: // such as an authority that has expired
		return &CertError{
			What: fmt.Sprintf("the certificate of %s does not verify", title(cert)), Err: err,
			Do: "`openssl verify -CAfile CA CERT` says more",
		}
	}
}

// RefusedHere reports, in words, that the other side of a handshake has refused
// this side's certificate: it says so in one byte, after this side has taken its
// own. False: it was something else.
func RefusedHere(err error) (words string, refused bool) {
	var alert *net.OpError
	if !errors.As(err, &alert) || alert.Op != "remote error" {
		return "", false
	}
	const prefix = "tls: "
	switch what := strings.TrimPrefix(alert.Err.Error(), prefix); what {
	case "expired certificate":
		return "it takes this side's certificate for expired, or not valid yet", true
	case "unknown certificate authority":
		return "it does not know the authority of this side's certificate", true
	case "bad certificate", "unsupported certificate", "revoked certificate", "certificate required":
		return "it does not take this side's certificate (" + what + ")", true
	default:
		return "", false
	}
}

// CertificateProblem finds what a failed handshake says of certificates; nil: it
// failed for something else.
func CertificateProblem(err error) *CertError { return certificateProblem(err, time.Now()) }

func certificateProblem(err error, at time.Time) *CertError {
	var known *CertError
	if errors.As(err, &known) {
		return known
	}
	var failed *tls.CertificateVerificationError
	if errors.As(err, &failed) && len(failed.UnverifiedCertificates) > 0 {
		return unverified(failed.UnverifiedCertificates[0], failed.Err, at)
	}
	return nil
}
