//! The messages, as `protoc` would make them.

/// `message Numbers { repeated int64 values = 1; }`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Numbers {
    /// To be added.
    #[prost(int64, repeated, tag = "1")]
    pub values: Vec<i64>,
}

/// `message Number { int64 value = 1; }`
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Number {
    /// A sum, or something to be added.
    #[prost(int64, tag = "1")]
    pub value: i64,
}

/// `message Range { uint32 count = 1; uint32 interval_ms = 2; }`
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Range {
    /// How many numbers are told, from 1.
    #[prost(uint32, tag = "1")]
    pub count: u32,
    /// The time between two, in milliseconds.
    #[prost(uint32, tag = "2")]
    pub interval_ms: u32,
}
