module example.com/signboard

go 1.25
