package app_test

import (
	"testing"

	"github.com/trackway/trackway/services/platform/app"
)

func TestEveryMistakeIsNamedByItsVariable(t *testing.T) {
	t.Parallel()
	type config struct {
		App  app.Config
		Addr string `env:"USERS_ADDR,required,notEmpty"`
		Size int    `env:"SIZE"`
	}
	_, err := app.Parse[config](map[string]string{"LOG_LEVEL": "loud", "SHUTDOWN_GRACE": "5", "SIZE": "many"})
	const want = `LOG_LEVEL: slog: level string "loud": unknown name; ` +
		`SHUTDOWN_GRACE: unable to parse duration: time: missing unit in duration "5"; USERS_ADDR is not set; ` +
		`SIZE: strconv.ParseInt: parsing "many": invalid syntax`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	cfg, err := app.Parse[config](map[string]string{"USERS_ADDR": "users:9090"})
	if err != nil || cfg.Addr != "users:9090" || cfg.App.Listen != ":9090" {
		t.Errorf("got %+v, %v, want the defaults", cfg, err)
	}
}
