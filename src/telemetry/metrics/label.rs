//! Metrics with labels. Labels whose values are known when the program is compiled index an array
//! ([`Labelled`]); others are registered when the program starts ([`Registered`]). Nothing that a
//! caller sends becomes a label.

use std::{
    fmt,
    marker::PhantomData,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    page::{Kind, Labels, Metric, Samples},
    value::Value,
};

/// A label with its values, or several labels that go together. `labels!` implements it for an
/// enum; a tuple combines labels.
pub trait Label: Copy + 'static {
    /// How many values there are.
    const COUNT: usize;

    /// The names of the labels.
    fn names() -> Vec<&'static str>;

    /// Returns the value's place among all values, below [`Label::COUNT`].
    fn index(self) -> usize;

    /// Returns the value at this place.
    fn at(index: usize) -> Self;

    /// Adds the labels to those of a sample.
    fn write(self, labels: &mut Labels);

    /// Whether the page has a sample for this value before it is first recorded, so that a rate has
    /// a start. It has for each value of one label, but not for combinations.
    fn is_shown_at_zero(self) -> bool {
        true
    }
}

/// Declares a label as an enum: its name, and its values.
macro_rules! labels {
    ($(
        $(#[doc = $text:literal])+
        $visibility:vis enum $label:ident = $name:literal {
            $($(#[doc = $about:literal])+ $value:ident = $shown:literal,)+
        }
    )+) => {$(
        $(#[doc = $text])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $visibility enum $label {
            $($(#[doc = $about])+ $value,)+
        }

        impl $label {
            /// All values.
            const ALL: &'static [(Self, &'static str)] = &[$((Self::$value, $shown)),+];

            /// Returns the value as the page shows it.
            $visibility fn as_str(self) -> &'static str {
                Self::ALL[self as usize].1
            }
        }

        impl $crate::telemetry::metrics::Label for $label {
            const COUNT: usize = Self::ALL.len();

            fn names() -> Vec<&'static str> {
                vec![$name]
            }

            fn index(self) -> usize {
                self as usize
            }

            fn at(index: usize) -> Self {
                Self::ALL[index].0
            }

            fn write(self, labels: &mut $crate::telemetry::metrics::Labels) {
                labels.push($name, self.as_str());
            }
        }
    )+};
}
pub(crate) use labels;

macro_rules! tuple {
    ($($label:ident)+) => {
        impl<$($label: Label),+> Label for ($($label,)+) {
            const COUNT: usize = 1 $(* $label::COUNT)+;

            fn names() -> Vec<&'static str> {
                [$($label::names()),+].concat()
            }

            #[allow(non_snake_case)]
            fn index(self) -> usize {
                let ($($label,)+) = self;
                let mut index = 0;
                $(index = index * $label::COUNT + $label.index();)+
                index
            }

            #[allow(non_snake_case, unused_assignments)]
            fn at(index: usize) -> Self {
                let mut weight = Self::COUNT;
                $(
                    weight /= $label::COUNT;
                    let $label = $label::at(index / weight % $label::COUNT);
                )+
                ($($label,)+)
            }

            #[allow(non_snake_case)]
            fn write(self, labels: &mut Labels) {
                let ($($label,)+) = self;
                $($label.write(labels);)+
            }

            fn is_shown_at_zero(self) -> bool {
                false
            }
        }
    };
}

tuple!(A B);
tuple!(A B C);

/// A metric for each value of a label.
pub struct Labelled<L, M> {
    metrics: Box<[M]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label, M> Labelled<L, M> {
    /// Returns the metric for this value.
    pub fn get(&self, label: L) -> &M {
        &self.metrics[label.index()]
    }

    /// Returns all values with their metrics.
    pub fn all(&self) -> impl Iterator<Item = (L, &M)> {
        self.metrics.iter().enumerate().map(|(index, metric)| (L::at(index), metric))
    }
}

impl<L: Label, M: Default> Default for Labelled<L, M> {
    fn default() -> Self {
        Self { metrics: (0..L::COUNT).map(|_| M::default()).collect(), label: PhantomData }
    }
}

impl<L, M> fmt::Debug for Labelled<L, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Labelled").field("values", &self.metrics.len()).finish_non_exhaustive()
    }
}

impl<L: Label, M: Value> Metric for Labelled<L, M> {
    fn kind(&self) -> Kind {
        M::KIND
    }

    fn labels(&self) -> Vec<&'static str> {
        L::names()
    }

    fn write(&self, samples: &mut Samples<'_>) {
        for (index, metric) in self.metrics.iter().enumerate() {
            let label = L::at(index);
            if label.is_shown_at_zero() || !metric.is_untouched() {
                let mut labels = Labels::default();
                label.write(&mut labels);
                metric.write(&labels, samples);
            }
        }
    }
}

/// The name of a label whose values are registered when the program starts.
pub trait Name: 'static {
    /// The name.
    const NAME: &'static str;
}

/// Declares names of labels.
macro_rules! names {
    ($($(#[doc = $text:literal])+ $visibility:vis struct $label:ident = $name:literal;)+) => {$(
        $(#[doc = $text])+
        #[derive(Debug)]
        $visibility struct $label;

        impl $crate::telemetry::metrics::Name for $label {
            const NAME: &'static str = $name;
        }
    )+};
}
pub(crate) use names;

/// A metric for each value that is registered. The lock is taken to register a value and to write
/// the page; whoever records holds the metric.
pub struct Registered<L, M> {
    metrics: Mutex<Vec<(String, Arc<M>)>>,
    label: PhantomData<fn(L)>,
}

impl<L, M: Default> Registered<L, M> {
    /// Returns the metric for this value, and adds it to the page. The value comes from the program
    /// or its settings, never from a caller.
    pub fn register(&self, value: &str) -> Arc<M> {
        let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, metric)) = metrics.iter().find(|(known, _)| known == value) {
            return Arc::clone(metric);
        }
        let metric = Arc::<M>::default();
        metrics.push((value.to_owned(), Arc::clone(&metric)));
        metric
    }

    /// Returns all values with their metrics.
    pub(super) fn all(&self) -> Vec<(String, Arc<M>)> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<L, M> Default for Registered<L, M> {
    fn default() -> Self {
        Self { metrics: Mutex::default(), label: PhantomData }
    }
}

impl<L, M> fmt::Debug for Registered<L, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registered")
    }
}

impl<L: Name, M: Value> Metric for Registered<L, M> {
    fn kind(&self) -> Kind {
        M::KIND
    }

    fn labels(&self) -> Vec<&'static str> {
        vec![L::NAME]
    }

    fn write(&self, samples: &mut Samples<'_>) {
        for (value, metric) in self.all() {
            let mut labels = Labels::default();
            labels.push(L::NAME, &value);
            metric.write(&labels, samples);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    labels! {
        /// A colour.
        enum Colour = "colour" {
            /// Red.
            Red = "red",
            /// Green.
            Green = "green",
        }

        /// A size.
        enum Size = "size" {
            /// Small.
            Small = "small",
            /// Medium.
            Medium = "medium",
            /// Large.
            Large = "large",
        }
    }

    #[test]
    fn every_combination_of_labels_has_a_place_of_its_own() {
        type Both = (Colour, Size);
        let places: Vec<_> = (0..Both::COUNT).map(|index| Both::at(index).index()).collect();

        assert_eq!(places, [0, 1, 2, 3, 4, 5]);
        assert_eq!(Both::at(4), (Colour::Green, Size::Medium));
        assert_eq!(Both::names(), ["colour", "size"]);
        type Three = (Size, Colour, Size);
        assert!((0..Three::COUNT).all(|index| Three::at(index).index() == index));
    }
}
