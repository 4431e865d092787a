package mail

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	netmail "net/mail"
	"net/url"
	"os"
	"strconv"
	"strings"

	gomail "github.com/wneessen/go-mail"
)

// Config says how mail is sent.
type Config struct {
	URL      string `env:"MAIL_URL" doc:"How mail is sent: smtp://user@host:587 (STARTTLS), smtps://user@host:465, or console: to print it; none is sent when it is empty"`
	Password string `env:"MAIL_PASSWORD_FILE" doc:"File with the password of the user of MAIL_URL"`
	AppURL   string `env:"APP_URL" envDefault:"http://localhost:8080" doc:"Public URL of the web app, which the links in mail lead to"`
	From     string `env:"MAIL_FROM" envDefault:"Trackway <trackway@localhost>" doc:"Who mail comes from"`
}

// Link is a page of the web app that is given a secret, which stays out of what servers log: it is behind the #.
func (c Config) Link(page, secret string) string {
	return strings.TrimRight(c.AppURL, "/") + "/" + page + "#token=" + secret
}

// The ports of submission, with STARTTLS and within TLS (RFC 8314).
const (
	portStartTLS = 587
	portTLS      = 465
)

// sender is the Sender that is configured, or nil.
func (c Config) sender(printTo io.Writer) (Sender, error) {
	if c.URL == "" {
		return nil, nil //nolint:nilnil // none is configured
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, errors.New("MAIL_URL is not a URL") // err could quote a password
	}
	if _, err := netmail.ParseAddress(c.From); err != nil {
		return nil, errors.New("MAIL_FROM is not an address, such as Trackway <trackway@example.org>")
	}
	switch {
	case u.Scheme == "console":
		if printTo == nil {
			printTo = os.Stderr
		}
		return console{printTo}, nil
	case u.Scheme != "smtp" && u.Scheme != "smtps", u.Hostname() == "":
		return nil, errors.New("MAIL_URL must be console:, smtp://user@host:587 or smtps://user@host:465")
	}
	if _, ok := u.User.Password(); ok {
		return nil, errors.New("MAIL_URL holds a password, which belongs into the file of MAIL_PASSWORD_FILE")
	}
	s := &smtp{host: u.Hostname(), implicit: u.Scheme == "smtps", user: u.User.Username(), from: c.From}
	s.port = portStartTLS
	if s.implicit {
		s.port = portTLS
	}
	if s.port, err = strconv.Atoi(cmp.Or(u.Port(), strconv.Itoa(s.port))); err != nil {
		return nil, errors.New("MAIL_URL has a bad port")
	}
	if s.user != "" {
		password, err := os.ReadFile(c.Password)
		if err != nil {
			return nil, fmt.Errorf("MAIL_PASSWORD_FILE: %w", err)
		}
		s.password = strings.TrimRight(string(password), "\r\n")
	}
	return s, nil
}

// smtp submits mail to a server (RFC 6409), always within TLS.
type smtp struct {
	host           string
	port           int
	implicit       bool
	user, password string
	from           string
	tls            *tls.Config // nil trusts what the machine does
}

// Send submits the message.
func (s *smtp) Send(ctx context.Context, id string, m Message) error {
	msg := gomail.NewMsg()
	if err := errors.Join(msg.From(s.from), msg.To(m.To)); err != nil {
		return err
	}
	msg.Subject(m.Subject)
	msg.SetDate()
	msg.SetMessageIDWithValue(id + "." + strconv.FormatInt(m.Expires.UnixNano(), 36) + "@" + s.domain())
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no vacation notices
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	options := []gomail.Option{
		gomail.WithPort(s.port), gomail.WithTimeout(sendTimeout), gomail.WithTLSPolicy(gomail.TLSMandatory), gomail.WithHELO(s.domain()),
	}
	if s.implicit {
		options = append(options, gomail.WithSSL())
	}
	if s.user != "" {
		options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(s.user),
			gomail.WithPassword(s.password))
	}
	if s.tls != nil {
		options = append(options, gomail.WithTLSConfig(s.tls))
	}
	client, err := gomail.NewClient(s.host, options...)
	if err != nil {
		return fmt.Errorf("prepare to send: %w", err)
	}
	// What was taken is sent, however the server says goodbye.
	if err := client.DialAndSendWithContext(ctx, msg); err != nil && !msg.IsDelivered() {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// domain is that of the address that mail comes from.
func (s *smtp) domain() string {
	addr, err := netmail.ParseAddress(s.from)
	if err != nil {
		return "localhost"
	}
	return addr.Address[strings.LastIndexByte(addr.Address, '@')+1:]
}

// reason tells an operator what went wrong, without the address that the server may have quoted.
func reason(err error) string {
	if failed, ok := errors.AsType[*gomail.SendError](err); ok {
		return fmt.Sprintf("%s, code %d %s", failed.Reason, failed.ErrorCode(), failed.EnhancedStatusCode())
	}
	return fmt.Sprintf("%T", errors.Unwrap(err))
}
