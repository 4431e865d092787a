package mail

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
	"github.com/uptrace/bun"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/trackway/trackway/services/platform/pgtest"
	"github.com/trackway/trackway/services/platform/postgres"
	"github.com/trackway/trackway/services/platform/telemetry"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// server is a real SMTP server that demands TLS and a password, and keeps what it is sent.
type server struct {
	address string
	trust   *tls.Config
	got     chan string

	mu     sync.Mutex
	refuse int  // so many times
	hangUp bool // as soon as a mail was taken
	from   []string
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{got: make(chan string, 100)}
	cert, pool := certificate(t)
	s.trust = &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS12}
	srv := gosmtp.NewServer(gosmtp.BackendFunc(func(c *gosmtp.Conn) (gosmtp.Session, error) {
		return &session{server: s, conn: c.Conn()}, nil
	}))
	srv.Domain, srv.TLSConfig = "localhost", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return s
}

func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

type session struct {
	server *server
	conn   net.Conn
	in     bool
	taken  bool
}

func (*session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if s.in = user == "trackway" && password == "the password"; !s.in {
			return gosmtp.ErrAuthFailed
		}
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *gosmtp.MailOptions) error {
	if !s.in {
		return gosmtp.ErrAuthRequired
	}
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.from = append(s.server.from, from)
	return nil
}

func (s *session) Rcpt(string, *gosmtp.RcptOptions) error {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	if s.server.refuse > 0 {
		s.server.refuse--
		return &gosmtp.SMTPError{Code: 451, EnhancedCode: gosmtp.EnhancedCode{4, 7, 1}, Message: "greylisted: ada@example.org"}
	}
	return nil
}

func (s *session) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	s.server.got <- string(b)
	s.taken = true
	return err
}

// Reset comes after the answer to what was taken.
func (s *session) Reset() {
	if s.taken && s.server.hangUp {
		_ = s.conn.Close()
	}
}

func (*session) Logout() error { return nil }

// sender is the configured sender, which trusts the server.
func (s *server) sender(t *testing.T) Sender {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("the password\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(s.address)
	if err != nil {
		t.Fatal(err)
	}
	made, err := Config{URL: "smtp://trackway@localhost:" + port, Password: file, From: "Trackway <bot@example.org>"}.sender(nil)
	if err != nil {
		t.Fatal(err)
	}
	sender, ok := made.(*smtp)
	if !ok {
		t.Fatalf("got a %T, want an smtp", made)
	}
	sender.tls = s.trust
	return sender
}

func (s *server) next(t *testing.T) string {
	t.Helper()
	select {
	case m := <-s.got:
		return m
	case <-time.After(time.Minute):
		t.Fatal("no mail came within a minute")
		return ""
	}
}

func open(t *testing.T) *postgres.DB {
	t.Helper()
	url := pgtest.Open(t, "mail", func(ctx context.Context, url string) error {
		return postgres.Migrate(ctx, url, Migrations())
	})
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// run runs so many outboxes, as replicas do, until the test ends. Where there are several, an attempt that takes longer than
// again is made by another one, too.
func run(t *testing.T, db *postgres.DB, sender Sender, log io.Writer, n int, again time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var all sync.WaitGroup
	for range n {
		o := NewOutbox(sender, slog.New(slog.NewTextHandler(log, nil)), telemetry.IDs{})
		o.poll, o.pause = 10*time.Millisecond, again
		all.Go(func() { o.Run(ctx, db) })
	}
	t.Cleanup(func() { cancel(); all.Wait() })
}

func queue(t *testing.T, db *postgres.DB, to string, expires time.Duration, after error) {
	t.Helper()
	err := db.RunInTx(t.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
		err := Queue(ctx, tx, Message{To: to, Subject: "Grüße", Text: "Follow https://example.org/#token=abc", Expires: time.Now().Add(expires)})
		return errors.Join(err, after)
	})
	if !errors.Is(err, after) {
		t.Fatal(err)
	}
}

func left(t *testing.T, db *postgres.DB) int64 {
	t.Helper()
	n, err := db.NewSelect().Table("mails").Count(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func waitForNone(t *testing.T, db *postgres.DB) {
	t.Helper()
	late, tick := time.After(time.Minute), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for left(t, db) > 0 {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("mails left: got %d, want none within a minute", left(t, db))
		}
	}
}

func TestWhatIsCommittedIsSentOnceByAnyReplica(t *testing.T) {
	t.Parallel()
	db, s := open(t), newServer(t)
	const n = 12
	for i := range n {
		queue(t, db, fmt.Sprintf("ada%d@example.org", i), time.Hour, nil)
	}
	queue(t, db, "nobody@example.org", time.Hour, errors.New("rolled back"))
	run(t, db, s.sender(t), t.Output(), 3, pause)
	waitForNone(t, db)
	seen := make(map[string]bool)
	for range n {
		m, err := netmail.ReadMessage(strings.NewReader(s.next(t)))
		if err != nil {
			t.Fatal(err)
		}
		to := m.Header.Get("To")
		if seen[to] || strings.Contains(to, "nobody") || m.Header.Get("From") != `"Trackway" <bot@example.org>` ||
			m.Header.Get("Auto-Submitted") != "auto-generated" || m.Header.Get("Message-Id") == "" {
			t.Errorf("got a second one, or one that is wrong: %v", m.Header)
		}
		seen[to] = true
	}
	select {
	case m := <-s.got:
		t.Errorf("got one more than was queued: %s", m)
	default:
	}
}

func TestSendingIsATraceLinkedToWhatQueuedTheMail(t *testing.T) {
	t.Parallel()
	db, s := open(t), newServer(t)
	spans := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	ctx, cause := tracer.Tracer("").Start(t.Context(), "write")
	if err := Queue(ctx, db, Message{To: "ada@example.org", Subject: "Hello", Text: "Hello", Expires: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	o := NewOutbox(s.sender(t), slog.New(slog.NewTextHandler(t.Output(), nil)), tracer)
	for _, want := range []bool{true, false} {
		if sent, err := o.step(t.Context(), db); err != nil || sent != want {
			t.Fatalf("got %v, %v, want %v", sent, err, want)
		}
	}
	ended := spans.Ended()
	if len(ended) != 1 { // one for the mail, and none for looking in vain
		t.Fatalf("got %d spans, want one", len(ended))
	}
	links := ended[0].Links()
	if ended[0].Parent().IsValid() || len(links) != 1 || links[0].SpanContext.SpanID() != cause.SpanContext().SpanID() {
		t.Errorf("got the parent %v and the links %v, want a trace of its own, linked to the write", ended[0].Parent(), links)
	}
}

func TestWhatIsRefusedIsTriedAgainAndNobodysAddressIsLogged(t *testing.T) {
	t.Parallel()
	db, s := open(t), newServer(t)
	s.refuse = 2
	var log locked
	queue(t, db, "ada@example.org", time.Hour, nil)
	run(t, db, s.sender(t), &log, 1, 200*time.Millisecond)
	s.next(t)
	waitForNone(t, db)
	if text := log.String(); strings.Contains(text, "ada@example.org") || strings.Count(text, "code 451") != 2 {
		t.Errorf("log: got %s, want two refusals without the address", text)
	}
}

func TestWhatWasTakenIsNotSentAgainToAServerThatHangsUp(t *testing.T) {
	t.Parallel()
	db, s := open(t), newServer(t)
	s.hangUp = true
	queue(t, db, "ada@example.org", time.Hour, nil)
	o := NewOutbox(s.sender(t), slog.New(slog.NewTextHandler(t.Output(), nil)), telemetry.IDs{})
	if sent, err := o.step(t.Context(), db); err != nil || !sent {
		t.Fatalf("got %v, %v, want a mail", sent, err)
	}
	s.next(t)
	if got := left(t, db); got != 0 {
		t.Errorf("mails that will be sent again: got %d, want none", got)
	}
}

func TestWhatIsOfNoUseIsNotSent(t *testing.T) {
	t.Parallel()
	db, s := open(t), newServer(t)
	queue(t, db, "ada@example.org", -time.Second, nil)
	run(t, db, s.sender(t), t.Output(), 1, pause)
	waitForNone(t, db)
	if len(s.got) > 0 {
		t.Errorf("got %s, want nothing", <-s.got)
	}
}

// TestNoMailLeavesWithoutTLS: a server that does not offer it gets neither the password nor the mail.
func TestNoMailLeavesWithoutTLS(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	sender, ok := s.sender(t).(*smtp)
	if !ok {
		t.Fatal("got another sender, want smtp")
	}
	sender.tls = &tls.Config{ServerName: "localhost", MinVersion: tls.VersionTLS12} // does not trust the certificate
	err := sender.Send(t.Context(), "1", Message{To: "ada@example.org", Expires: time.Now()})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil || len(s.from) > 0 || len(s.got) > 0 {
		t.Errorf("got %v, and mail from %v, want an error and none", err, s.from)
	}
}

func TestTheConsolePrints(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	sender, err := Config{URL: "console:", From: "bot@example.org"}.sender(&out)
	if err != nil {
		t.Fatal(err)
	}
	if err := sender.Send(t.Context(), "1", Message{To: "ada@example.org", Text: "the link"}); err != nil || !strings.Contains(out.String(), "the link") {
		t.Errorf("got %q, %v, want the link", out.String(), err)
	}
}

func TestAMistakeInTheConfigurationIsNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Config{
		"MAIL_URL": {URL: "ftp://x", From: "a@b"}, "MAIL_FROM": {URL: "console:", From: "nobody"},
		"MAIL_PASSWORD_FILE": {URL: "smtp://user@host", From: "a@b"}, "password": {URL: "smtp://user:secret@host", From: "a@b"},
	} {
		_, err := c.sender(nil)
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: got %v, want one that names %s", c, err, name)
		}
	}
	if s, err := (Config{}).sender(nil); s != nil || err != nil {
		t.Errorf("nothing: got %v, %v, want no sender", s, err)
	}
}

// locked is a log that is read while it is written.
type locked struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
