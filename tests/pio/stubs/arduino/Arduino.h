/* What the port and the examples use of Arduino, for a check of their syntax. */
#pragma once
#include <stddef.h>
#include <stdint.h>

class Stream {
public:
    int available();
    int read();
    size_t write(const uint8_t *bytes, size_t count);
    void flush();
    void begin(unsigned long baud);
    size_t print(const char *text);
    size_t println(int value);
    size_t println(float value);
};

extern Stream Serial;
enum { A0 = 14 };

extern "C" {
void setup(void);
void loop(void);
unsigned long micros(void);
void delay(unsigned long ms);
void yield(void);
int analogRead(uint8_t pin);
}
